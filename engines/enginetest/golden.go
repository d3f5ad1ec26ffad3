package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"genbench/models"
)

// A golden is what a network's logits are for synthetic weights and input,
// computed in float64 by code that shares nothing with genbench.
type golden struct {
	Name       string    `json:"name"`
	Resolution int       `json:"resolution"`
	Logits     []float64 `json:"logits0_7"` // the first eight
	Sum        float64   `json:"sum"`
	L2         float64   `json:"l2"`
	ArgMax     int       `json:"argmax"`
	Max        float64   `json:"max"`
}

// shortGoldens are the networks that -short is content with: between them they have
// every operator of the default suite.
func shortGoldens() []string {
	return []string{"genet-small", "resnet-18", "mobilenetv2-1.0", "efficientnet-b0"}
}

func runGolden(t *testing.T, r *rig) {
	goldens, err := readGoldens()
	if err != nil {
		t.Fatal(err)
	}
	wanted := shortGoldens()
	if r.device.Info().Fake {
		// A fake computes on one processor what a GPU does, and in a build some
		// inferences more.
		wanted = []string{"mobilenetv2-1.0"}
		if testing.Short() {
			t.Skip("a whole network takes a fake seconds")
		}
	}
	ran := 0
	for _, g := range goldens {
		// The race detector slows plain Go tenfold and finds nothing in the sixtieth
		// network that it did not find in the fourth.
		if (testing.Short() || raceDetector || r.device.Info().Fake) && !slices.Contains(wanted, g.Name) {
			continue
		}
		ran++
		t.Run(fmt.Sprintf("%s@%d", g.Name, g.Resolution), func(t *testing.T) {
			if err := checkGolden(r, g); err != nil {
				t.Error(err)
			}
		})
	}
	if ran < len(wanted) {
		t.Errorf("%d golden outputs were met with, of at least %d", ran, len(wanted))
	}
}

func checkGolden(r *rig, g golden) error {
	n, err := models.New(g.Name, g.Resolution)
	if err != nil {
		return err
	}
	out, err := r.once(n, options(models.FP32, 1), models.SyntheticInput(n.InputShape(1)))
	if err != nil {
		return err
	}
	return g.compare(out)
}

// compare allows each logit to be off by 1e-4 of their root mean square.
func (g golden) compare(out models.Tensor) error {
	n := len(out.Data)
	if n < len(g.Logits) || len(g.Logits) == 0 || !out.Shape.Equal(models.Shape{1, n}) {
		return fmt.Errorf("output has shape %v", out.Shape)
	}
	allowed := fp32Limit * g.L2 / math.Sqrt(float64(n))
	var sum, squares float64
	top := 0
	for i, v := range out.Data {
		sum += float64(v)
		squares += float64(v) * float64(v)
		if v > out.Data[top] {
			top = i
		}
	}
	near := func(what string, got, want, allowed float64) error {
		if math.Abs(got-want) <= allowed {
			return nil
		}
		return fmt.Errorf("%s is %.7g, want %.7g ± %.1g", what, got, want, allowed)
	}
	var errs []error
	for i, want := range g.Logits {
		errs = append(errs, near(fmt.Sprintf("logit %d", i), float64(out.Data[i]), want, allowed))
	}
	errs = append(errs,
		near("the largest logit", float64(out.Data[top]), g.Max, allowed),
		near("the sum", sum, g.Sum, allowed*float64(n)),
		near("the norm", math.Sqrt(squares), g.L2, allowed*math.Sqrt(float64(n))))
	if top != g.ArgMax {
		errs = append(errs, fmt.Errorf("the largest is logit %d, want %d", top, g.ArgMax))
	}
	return errors.Join(errs...)
}

func readGoldens() ([]golden, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "models", "testdata", "golden.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var goldens []golden
	if err := json.Unmarshal(data, &goldens); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return goldens, nil
}

// moduleRoot is the folder of go.mod above the test's own.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return dir, err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find golden outputs: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}
