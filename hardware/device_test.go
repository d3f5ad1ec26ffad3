package hardware

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Looking for a GPU makes no context there: with one, a measurement that runs on the
// board would drop its rounds.
func TestFindMakesNoContext(t *testing.T) {
	board := filepath.Join(t.TempDir(), "board")
	fakeCUDA(t, "EXCLUSIVE", board)
	holder, err := os.Create(board)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := syscall.Flock(int(holder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("0"); err == nil {
		t.Fatal("a second context was made on the double")
	}
	const id = "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"
	for _, name := range []string{"0", id, strings.ToUpper(id)} {
		want := Info{ID: id, Kind: CUDA, Name: "Fake GPU", Cores: 4, Memory: 4 << 30, Fake: true}
		if info, err := Find(name); err != nil || info != want {
			t.Errorf("%s is found as %+v, %v", name, info, err)
		}
	}
	for _, name := range []string{"1", "-1", "", "gpu0"} {
		if _, err := Find(name); err == nil || !strings.Contains(err.Error(), "find device "+name) || !strings.Contains(err.Error(), id) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if info, err := Find("host"); err != nil || info.Kind != Host || info.Cores < 1 {
		t.Errorf("the host is found as %+v, %v", info, err)
	}
}
