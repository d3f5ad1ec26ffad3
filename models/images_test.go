package models

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func imageNetwork(resolution int) *Network {
	return &Network{Name: "looker", Channels: 3, Resolution: resolution}
}

func at(t *testing.T, images Images, i int) Tensor {
	t.Helper()
	x, err := images.At(i)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestSyntheticImages(t *testing.T) {
	n := imageNetwork(56)
	images := SyntheticImages(n, 20, 7)
	if images.Len() != 20 || images.Source != "synthetic" {
		t.Errorf("%d images of %q", images.Len(), images.Source)
	}
	hash := sha256.New()
	var sum, squares float64
	means := make(map[float32]bool)
	for i := range images.Len() {
		x := at(t, images, i)
		if !x.Shape.Equal(n.InputShape(1)) {
			t.Fatalf("image %d has shape %v", i, x.Shape)
		}
		for _, v := range x.Data {
			sum += float64(v)
			squares += float64(v) * float64(v)
			hash.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
		means[x.Data[0]] = true
	}
	count := float64(20 * n.InputShape(1).Elements())
	if mean, variance := sum/count, squares/count; math.Abs(mean) > 0.2 || variance < 0.7 || variance > 1.4 {
		t.Errorf("mean %.3f, variance %.3f, want about 0 and 1", mean, variance)
	}
	if len(means) != 20 {
		t.Errorf("%d different images of 20", len(means))
	}
	// The values are the same on every machine.
	const want = "b311fd1a64b47df09a70a51b77bc0104481771ec22be70ade3c8adc87ce529ba"
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != want {
		t.Errorf("the images have the hash %s, want %s", got, want)
	}
	if other := at(t, SyntheticImages(n, 1, 8), 0); other.Data[0] == at(t, images, 0).Data[0] {
		t.Error("seeds 7 and 8 give the same image")
	}
}

// Neighbouring pixels are alike, as in photographs, and the left is not the right.
func TestSyntheticImagesAreSmooth(t *testing.T) {
	x := at(t, SyntheticImages(imageNetwork(224), 1, 1), 0)
	var steps, spread float64
	for y := range 224 {
		row := x.Data[y*224 : (y+1)*224]
		for k := range 223 {
			steps += math.Abs(float64(row[k+1] - row[k]))
		}
		for k := range 112 {
			spread += math.Abs(float64(row[k+112] - row[k]))
		}
	}
	if steps, spread = steps/(224*223), spread/(224*112); steps > spread/3 {
		t.Errorf("neighbours differ by %.3f, pixels half an image apart by %.3f", steps, spread)
	}
}

func save(t *testing.T, file string, img image.Image) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if strings.HasSuffix(file, ".png") {
		err = png.Encode(f, img)
	} else {
		err = jpeg.Encode(f, img, &jpeg.Options{Quality: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func plainImage(width, height int, c color.Color) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.Set(x, y, c)
		}
	}
	return img
}

func TestImageDir(t *testing.T) {
	dir := t.TempDir()
	n := imageNetwork(14)
	save(t, filepath.Join(dir, "c.JPG"), plainImage(40, 20, color.NRGBA{255, 255, 255, 255}))
	save(t, filepath.Join(dir, "b.jpeg"), plainImage(20, 40, color.NRGBA{0, 0, 0, 255}))
	save(t, filepath.Join(dir, "a.png"), plainImage(3, 5, color.NRGBA{51, 102, 204, 255}))
	if err := os.WriteFile(filepath.Join(dir, "labels.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "more.png"), 0o755); err != nil {
		t.Fatal(err)
	}
	images, err := ImageDir(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	if images.Len() != 3 || images.Source != dir {
		t.Fatalf("%d images of %s", images.Len(), images.Source)
	}
	// In the order of names; (value/255 - mean) / standard deviation by hand.
	for i, want := range [][3]float64{
		{(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.8 - 0.406) / 0.225},
		{-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225},
		{(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225},
	} {
		x := at(t, images, i)
		if !x.Shape.Equal(n.InputShape(1)) {
			t.Fatalf("image %d has shape %v", i, x.Shape)
		}
		for k, v := range x.Data {
			if c := k / (14 * 14); math.Abs(float64(v)-want[c]) > 1e-6 {
				t.Fatalf("image %d, channel %d, pixel %d is %v, want %v", i, c, k%(14*14), v, want[c])
			}
		}
	}
}

// Of an image twice as wide as high, the middle square is seen, less a sixteenth on each
// side. Numbers along x make every column tell where it comes from.
func TestImageDirCropsTheCentre(t *testing.T) {
	dir := t.TempDir()
	n := imageNetwork(28)
	const width, height = 128, 64
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.Set(x, y, color.NRGBA{uint8(2 * x), uint8(4 * y), 0, 255})
		}
	}
	save(t, filepath.Join(dir, "ramp.png"), img)
	images, err := ImageDir(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	x := at(t, images, 0)
	// 64·7/8 = 56 source pixels a side, 2 to one of the network's; they begin at 36 and 4,
	// so that output pixel i lies over 36+2i and 37+2i.
	for i := 1; i < 27; i++ { // tents reach over the rim of the outer ones
		red := (2*(36.5+2*float64(i))/255 - 0.485) / 0.229
		green := (4*(4.5+2*float64(i))/255 - 0.456) / 0.224
		if got := float64(x.Data[14*28+i]); math.Abs(got-red) > 0.02 {
			t.Errorf("column %d is %.3f, want %.3f", i, got, red)
		}
		if got := float64(x.Data[28*28+i*28+14]); math.Abs(got-green) > 0.02 {
			t.Errorf("row %d is %.3f, want %.3f", i, got, green)
		}
	}
}

func TestImageDirRefuses(t *testing.T) {
	dir := t.TempDir()
	n := imageNetwork(8)
	if _, err := ImageDir(filepath.Join(dir, "nowhere"), n); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a directory that is not there: %v", err)
	}
	if _, err := ImageDir(dir, n); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory without images: %v", err)
	}
	broken := filepath.Join(dir, "broken.png")
	if err := os.WriteFile(broken, []byte("no picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	images, err := ImageDir(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.At(0); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("a broken image: %v", err)
	}
	// The header of a PNG that claims more pixels than any memory holds.
	huge := plainImage(1, 1, color.Black)
	save(t, broken, huge)
	raw, err := os.ReadFile(broken)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(raw[16:], 1<<20)
	binary.BigEndian.PutUint32(raw[20:], 1<<20)
	binary.BigEndian.PutUint32(raw[29:], crc32.ChecksumIEEE(raw[12:29]))
	if err := os.WriteFile(broken, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := images.At(0); err == nil || !strings.Contains(err.Error(), "pixels") {
		t.Errorf("an image beyond all memory: %v", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if _, err := images.At(0); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("an image that went away: %v", err)
	}
	grey := &Network{Name: "grey", Channels: 1, Resolution: 8}
	if _, err := ImageDir(dir, grey); err == nil || !strings.Contains(err.Error(), "grey") {
		t.Errorf("a network of one channel: %v", err)
	}
}
