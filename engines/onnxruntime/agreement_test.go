package onnxruntime

import (
	"context"
	"errors"
	"flag"
	"math"
	"testing"

	"genbench/engines"
	"genbench/engines/reference"
	"genbench/hardware/native"
	"genbench/models"
)

// wholeAgreement measures at the networks' own resolutions, on many images.
var wholeAgreement = flag.Int("agreement", 0, "images on which precisions are compared with fp32, at full resolution")

// Every precision that the library runs, natively or not, must stay as near to fp32
// as its tolerance asks, in networks of five families, on images that int8 was not
// calibrated on. `make agreement` prints how near, in full.
func TestPrecisionsAgreeWithFP32(t *testing.T) {
	const seedOfRanges, seedOfImages = 0, 1
	e := opened(t)
	resolution, ranged, images := 64, 4, 4
	if n := *wholeAgreement; n > 0 {
		resolution, ranged, images = 0, 16, n
	}
	for _, name := range []string{"genet-large", "resnet-50", "mobilenetv2-1.0", "efficientnet-b0", "densenet-121"} {
		t.Run(name, func(t *testing.T) {
			n, err := models.New(name, resolution)
			if err != nil {
				t.Fatal(err)
			}
			ranges := calibrate(t, n, models.SyntheticImages(n, ranged, seedOfRanges))
			seen := models.SyntheticImages(n, images, seedOfImages)
			want := answers(t, e, n, engines.BuildOptions{Precision: models.FP32}, seen)
			for _, precision := range []models.Precision{models.INT8, models.FP16, models.BF16} {
				o := engines.BuildOptions{Precision: precision, Ranges: ranges, AllowEmulated: true, Batch: 1, Threads: 2}
				if err := e.Supports(o); err != nil {
					t.Logf("%s: %v", precision, err)
					continue
				}
				got := answers(t, e, n, o, seen)
				leastCosine, largest, same := 1.0, 0.0, 0
				for i := range got {
					cosine, worst, top := distance(got[i], want[i])
					leastCosine, largest = min(leastCosine, cosine), max(largest, worst)
					if top {
						same++
					}
				}
				t.Logf("%-16s %s against fp32 on %d images: cosine at least %.5f, error at most %.3f of the root mean square, top-1 agreement %.1f %%",
					name, precision, images, leastCosine, largest, 100*float64(same)/float64(images))
				if limit := precision.Tolerance(); !(leastCosine >= limit.MinCosine) || !(largest <= limit.MaxRelErr) {
					t.Errorf("%s exceeds its tolerance %+v", precision, limit)
				}
			}
		})
	}
}

// calibrate takes ranges from images, through the reference as a run does.
func calibrate(t *testing.T, n *models.Network, images models.Images) *models.Ranges {
	t.Helper()
	yardstick, err := reference.Driver().Open(t.Context(), host(t))
	if err != nil {
		t.Fatal(err)
	}
	defer yardstick.Close()
	collect, err := models.NewCalibration(n, models.CalibrationOptions{Method: models.Percentile, Source: images.Source})
	if err != nil {
		t.Fatal(err)
	}
	for i := range images.Len() {
		image, err := images.At(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := yardstick.(engines.Observer).Observe(t.Context(), n, image, collect.See); err != nil {
			t.Fatal(err)
		}
	}
	ranges, err := collect.Ranges()
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

// answers gives the logits of every image.
func answers(t *testing.T, e *engine, n *models.Network, o engines.BuildOptions, images models.Images) [][]float32 {
	t.Helper()
	o.Batch, o.Threads = 1, 2
	s, err := e.Build(context.Background(), n, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]float32
	for i := range images.Len() {
		image, err := images.At(i)
		if err == nil {
			err = s.SetInput(image)
		}
		if err == nil {
			err = native.TimeHost(s.Call(), make([]native.Sample, 1))
		}
		out, outErr := s.Output()
		if err := errors.Join(err, outErr); err != nil {
			t.Fatal(err)
		}
		all = append(all, out.Data)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

// distance of two logits: the cosine between them, the largest difference over the
// root mean square of what is wanted, and whether both name one class.
func distance(got, want []float32) (cosine, worst float64, same bool) {
	var dot, gg, ww float64
	topGot, topWant := 0, 0
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		dot, gg, ww = dot+g*w, gg+g*g, ww+w*w
		worst = max(worst, math.Abs(g-w))
		if got[i] > got[topGot] {
			topGot = i
		}
		if want[i] > want[topWant] {
			topWant = i
		}
	}
	return dot / math.Sqrt(gg*ww), worst / math.Sqrt(ww/float64(len(want))), topGot == topWant
}
