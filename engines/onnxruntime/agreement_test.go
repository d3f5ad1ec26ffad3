package onnxruntime

import (
	"context"
	"errors"
	"flag"
	"math"
	"slices"
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
	if testing.Short() {
		t.Skip("the reference takes a minute under the race detector")
	}
	const seedOfRanges, seedOfImages = 0, 1
	e := opened(t)
	resolution, ranged, images := 64, 4, 4
	if n := *wholeAgreement; n > 0 {
		resolution, ranged, images = 0, 16, n
	}
	light := []string{"mobilenetv2-1.0", "efficientnet-b0"}
	for _, name := range []string{"genet-large", "resnet-50", "mobilenetv2-1.0", "efficientnet-b0", "densenet-121"} {
		t.Run(name, func(t *testing.T) {
			n, err := models.New(name, resolution)
			if err != nil {
				t.Fatal(err)
			}
			ranges := calibrate(t, n, models.SyntheticImages(n, ranged, seedOfRanges))
			seen := models.SyntheticImages(n, images, seedOfImages)
			want := answers(t, e, n, engines.BuildOptions{Precision: models.FP32}, seen)
			for _, precision := range []models.Precision{models.INT8, models.FP8, models.FP16, models.BF16} {
				if precision == models.FP8 && *wholeAgreement == 0 && !slices.Contains(light, name) {
					continue // emulated without fusions, it takes its time
				}
				o := engines.BuildOptions{Precision: precision, Ranges: ranges, AllowEmulated: true, Batch: 1, Threads: 2}
				if err := e.Supports(o); err != nil {
					t.Logf("%s: %v", precision, err)
					continue
				}
				got := answers(t, e, n, o, seen)
				leastCosine, largest, noise, same := 1.0, 0.0, 0.0, 0
				widest := 0.0 // margin of an image that disagrees
				for i := range got {
					d := distance(got[i], want[i])
					leastCosine, largest, noise = min(leastCosine, d.cosine), max(largest, d.worst), noise+d.noise/float64(images)
					if d.same {
						same++
					} else {
						widest = max(widest, d.margin)
					}
				}
				beyond := 0
				for i := range want {
					if distance(want[i], want[i]).margin > widest {
						beyond++
					}
				}
				t.Logf("%-16s %s against fp32 on %d images: cosine at least %.5f, error at most %.3f and on average %.3f of the root mean square, top-1 agreement %.1f %%",
					name, precision, images, leastCosine, largest, noise, 100*float64(same)/float64(images))
				if same < images {
					t.Logf("%-16s the images that disagree have their two highest fp32 logits at most %.3f apart; all %d that have them further apart agree", "", widest, beyond)
				}
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

// A gap is how far the logits of an image lie from those that are wanted.
type gap struct {
	cosine float64
	// The largest and the root mean square difference, and what the highest wanted
	// logit is above the next; all over the root mean square of the wanted logits.
	worst, noise, margin float64
	same                 bool // both name one class
}

func distance(got, want []float32) gap {
	var dot, gg, ww, worst, squares float64
	topGot, topWant := 0, 0
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		dot, gg, ww = dot+g*w, gg+g*g, ww+w*w
		worst, squares = max(worst, math.Abs(g-w)), squares+(g-w)*(g-w)
		if got[i] > got[topGot] {
			topGot = i
		}
		if want[i] > want[topWant] {
			topWant = i
		}
	}
	second := float32(math.Inf(-1))
	for i, v := range want {
		if i != topWant {
			second = max(second, v)
		}
	}
	n := float64(len(want))
	rms := math.Sqrt(ww / n)
	return gap{dot / math.Sqrt(gg*ww), worst / rms, math.Sqrt(squares/n) / rms, float64(want[topWant]-second) / rms, topGot == topWant}
}
