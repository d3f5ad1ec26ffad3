package all

import (
	"regexp"
	"testing"

	"genbench/hardware"
)

func TestDrivers(t *testing.T) {
	drivers := Drivers()
	name := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	seen := map[string]bool{}
	for i, d := range drivers {
		if !name.MatchString(d.Name) || seen[d.Name] {
			t.Errorf("name %q is taken or no word for --engines", d.Name)
		}
		seen[d.Name] = true
		if d.Doc == "" || d.Open == nil || (d.Device != hardware.Host && d.Device != hardware.CUDA) {
			t.Errorf("%s is incomplete: doc %q, device %q", d.Name, d.Doc, d.Device)
		}
		// Tables begin with what is measured and end with what checks it.
		if last := i == len(drivers)-1; d.Reference != last {
			t.Errorf("%s at place %d of %d: reference %t", d.Name, i+1, len(drivers), d.Reference)
		}
	}
}
