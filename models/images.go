package models

import (
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // read by image.Decode
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/image/draw"
)

// Images is a sequence of inputs of a network, one image each, made or read on demand.
type Images struct {
	Source string // "synthetic", or the directory
	count  int
	at     func(i int) (Tensor, error)
}

// Len is the number of images.
func (s Images) Len() int { return s.count }

// At gives image i as a tensor of the network's input shape at batch 1. An error
// names the file.
func (s Images) At(i int) (Tensor, error) { return s.at(i) }

// SyntheticImages gives seeded images that differ from each other as photographs
// do: patches of colour of all sizes, from the whole image down to a 28th, with a
// little noise. White noise would not do: a network averages it away, so all images
// would give the same logits. The values have roughly mean 0 and variance 1, as
// normalised photographs do. Images of different seeds have nothing in common.
func SyntheticImages(n *Network, count int, seed uint64) Images {
	return Images{Source: "synthetic", count: count, at: func(i int) (Tensor, error) {
		t := Tensor{Shape: n.InputShape(1), Data: make([]float32, n.InputShape(1).Elements())}
		key := "image " + strconv.FormatUint(seed, 10) + " " + strconv.Itoa(i)
		fill(key, 0, 0.25, t.Data)
		for _, cells := range []int{1, 4, 28} {
			addPatches(t, key+" "+strconv.Itoa(cells), cells)
		}
		return t, nil
	}}
}

// addPatches adds random colours on a lattice of the given number of cells in height
// and width, with the colours between its points interpolated.
func addPatches(t Tensor, key string, cells int) {
	channels, size := t.Shape[1], t.Shape[2]
	side := cells + 1
	lattice := make([]float32, channels*side*side)
	fill(key, 0, 1.5, lattice) // of variance 3/4, of which interpolation leaves 4/9
	for c := range channels {
		points := lattice[c*side*side:]
		for y := range size {
			row, fy := cellOf(y, size, cells)
			for x := range size {
				column, fx := cellOf(x, size, cells)
				p := points[row*side+column:]
				top := mix(p[0], p[1], fx)
				bottom := mix(p[side], p[side+1], fx)
				t.Data[(c*size+y)*size+x] += mix(top, bottom, fy)
			}
		}
	}
}

// cellOf gives the cell that a pixel lies in, and where in it.
func cellOf(pixel, size, cells int) (cell int, within float32) {
	cell = pixel * cells / size
	return cell, float32(pixel*cells-cell*size) / float32(size)
}

// mix interpolates. The conversions keep machines that fuse multiply and add from
// rounding differently.
func mix(a, b, share float32) float32 {
	return a + float32(share*float32(b-a))
}

// ImageDir gives the JPEG and PNG files of a directory, in the order of their names,
// as the networks' sources feed them: the shorter side resized to 8/7 of the
// resolution, the centre cut out, values normalised with ImageNet's mean and standard
// deviation (torchvision's reference transforms for classification, 256 and 224).
// Orientation tags of cameras are ignored, transparency shows black.
//
// A directory without such files is an error; a file that cannot be read is one when it
// is asked for.
func ImageDir(path string, n *Network) (Images, error) {
	if n.Channels != len(imageNet) {
		return Images{}, fmt.Errorf("read images of %s: network %s takes %d channels, images have %d", path, n.Name, n.Channels, len(imageNet))
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return Images{}, fmt.Errorf("read images: %w", err)
	}
	var files []string
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".jpg", ".jpeg", ".png":
			if !e.IsDir() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return Images{}, fmt.Errorf("read images of %s: no .jpg, .jpeg or .png file in it", path)
	}
	return Images{Source: path, count: len(files), at: func(i int) (Tensor, error) {
		t, err := readImage(files[i], n)
		if err != nil {
			return Tensor{}, fmt.Errorf("read image %s: %w", files[i], err)
		}
		return t, nil
	}}, nil
}

// imageNet holds the mean and the standard deviation of ImageNet's red, green and
// blue, as torchvision's documentation of its pre-trained models gives them.
var imageNet = [3]struct{ mean, deviation float64 }{{0.485, 0.229}, {0.456, 0.224}, {0.406, 0.225}}

// maxPixels of an image that is read; a small file can claim more than memory holds.
const maxPixels = 1 << 28

func readImage(file string, n *Network) (Tensor, error) {
	f, err := os.Open(file)
	if err != nil {
		return Tensor{}, errors.Unwrap(err) // the caller names the file
	}
	defer f.Close()
	header, _, err := image.DecodeConfig(f)
	if err != nil {
		return Tensor{}, err
	}
	if header.Width < 1 || header.Height < 1 || header.Width > maxPixels/header.Height {
		return Tensor{}, fmt.Errorf("it has %d x %d pixels, want 1 to %d", header.Width, header.Height, maxPixels)
	}
	if _, err := f.Seek(0, 0); err != nil {
		return Tensor{}, err
	}
	source, _, err := image.Decode(f)
	if err != nil {
		return Tensor{}, err
	}
	return cropCentre(source, n), nil
}

// cropCentre scales and cuts in one step: the square of the source that the network
// sees, drawn to the network's resolution.
func cropCentre(source image.Image, n *Network) Tensor {
	size := n.Resolution
	bounds := source.Bounds()
	short := min(bounds.Dx(), bounds.Dy())
	side := max(int(math.Round(float64(short)*7/8)), 1)
	corner := image.Pt(bounds.Min.X+(bounds.Dx()-side)/2, bounds.Min.Y+(bounds.Dy()-side)/2)
	square := image.Rectangle{Min: corner, Max: corner.Add(image.Pt(side, side))}
	scaled := image.NewRGBA(image.Rect(0, 0, size, size))
	draw.BiLinear.Scale(scaled, scaled.Bounds(), source, square, draw.Src, nil)

	t := Tensor{Shape: n.InputShape(1), Data: make([]float32, 3*size*size)}
	for c, norm := range imageNet {
		plane := t.Data[c*size*size : (c+1)*size*size]
		for i := range plane {
			plane[i] = float32((float64(scaled.Pix[4*i+c])/255 - norm.mean) / norm.deviation)
		}
	}
	return t
}
