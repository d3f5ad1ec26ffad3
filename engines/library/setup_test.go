package library

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// box is a pretended machine: two pinned packages, and fakes of pip and npm that
// hand out archives.
type box struct {
	root     string
	releases []release
	library  []byte
	log      bytes.Buffer
}

func newBox(t *testing.T) *box {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("setup knows packages for Linux only")
	}
	b := &box{root: isolate(t), library: make([]byte, 1<<20)}
	r := rand.NewChaCha8([32]byte{1}) // does not compress, so that a cut archive is cut in the library
	r.Read(b.library)
	sum := sha256.Sum256(b.library)
	pinned := hex.EncodeToString(sum[:])
	b.releases = []release{
		{version: "9.9.9", arch: "another", channel: pip{}, file: file{"probe/libprobe.so.9", pinned}},
		{version: "2.0.0", arch: runtime.GOARCH, channel: pip{}, file: file{"probe/capi/libprobe.so.2.0.0", pinned}},
		{version: "1.0.0", arch: runtime.GOARCH, channel: npm{}, file: file{"package/bin/libprobe.so.1", pinned}},
	}
	return b
}

func (b *box) wheel(t *testing.T, library []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for name, data := range map[string][]byte{"probe/LICENSE": []byte("text"), b.releases[1].member: library} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *box) tarball(t *testing.T, library []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	g := gzip.NewWriter(&out)
	w := tar.NewWriter(g)
	for _, f := range []struct {
		name string
		data []byte
	}{{"package/package.json", []byte("{}")}, {b.releases[2].member, library}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// script puts a shell script on the pretended machine's PATH.
func (b *box) script(t *testing.T, name, body string) {
	t.Helper()
	writeFile(t, filepath.Join(b.root, "bin", name), "#!/bin/sh\n"+body, 0o755)
}

// pip makes the fake pip: it insists on the flags that free it from its own
// Python's version, and gives the archive.
func (b *box) pip(t *testing.T, name string, archive []byte) {
	t.Helper()
	file := filepath.Join(b.root, name+".archive")
	writeFile(t, file, string(archive), 0o644)
	b.script(t, name, fmt.Sprintf(`
case "$*" in
*--version) echo "pip 99"; exit 0;;
*"download --no-deps --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 --platform manylinux_2_28_"*" probe==2.0.0") ;;
*) echo "unexpected arguments: $*"; exit 2;;
esac
while [ "$1" != --dest ]; do shift; done
echo fetching
/bin/cp %s "$2/probe-2.0.0-cp312.whl"
`, file))
}

func (b *box) npm(t *testing.T, archive []byte) {
	t.Helper()
	file := filepath.Join(b.root, "npm.archive")
	writeFile(t, file, string(archive), 0o644)
	b.script(t, "npm", fmt.Sprintf(`
case "$*" in
"pack --ignore-scripts --loglevel error probe-node@1.0.0") ;;
*) echo "unexpected arguments: $*"; exit 2;;
esac
/bin/cp %s probe-node-1.0.0.tgz
`, file))
}

func (b *box) setup(t *testing.T) (string, error) {
	t.Helper()
	return setup(context.Background(), &b.log, "probe", testEnv, b.releases)
}

// cached lists the files that genbench's cache holds.
func (b *box) cached(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(b.root, "home"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (b *box) target(i int) string {
	r := b.releases[i]
	return filepath.Join(b.root, "home", ".cache", "genbench", "probe", r.version+"-linux-"+r.arch, filepath.Base(r.member))
}

func (b *box) wantInstalled(t *testing.T, i int) {
	t.Helper()
	path, err := b.setup(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.log.String())
	}
	if path != b.target(i) {
		t.Errorf("installed %s, want %s", path, b.target(i))
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.library) {
		t.Error("the installed file is not the library")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, want 0755", info.Mode())
	}
	if files := b.cached(t); len(files) != 1 {
		t.Errorf("left %q", files)
	}
}

func (b *box) wantFailure(t *testing.T, words ...string) {
	t.Helper()
	path, err := b.setup(t)
	if err == nil {
		t.Fatalf("installed %s", path)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not hold %q: %v", w, err)
		}
	}
	if files := b.cached(t); len(files) != 0 {
		t.Errorf("left %q", files)
	}
}

func TestSetupWithPip(t *testing.T) {
	for _, name := range []string{"python3", "pip3", "pip"} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.pip(t, name, b.wheel(t, b.library))
			b.wantInstalled(t, 1)
			if !strings.Contains(b.log.String(), "fetching") {
				t.Error("the log does not hold what pip printed")
			}
		})
	}
}

func TestSetupTakesNpmWherePipIsMissingOrFails(t *testing.T) {
	t.Run("missing", func(t *testing.T) {
		b := newBox(t)
		b.script(t, "python3", "echo no module named pip; exit 1")
		b.npm(t, b.tarball(t, b.library))
		b.wantInstalled(t, 2)
	})
	t.Run("fails", func(t *testing.T) {
		b := newBox(t)
		b.script(t, "pip", `[ "$1" = --version ]`)
		b.npm(t, b.tarball(t, b.library))
		b.wantInstalled(t, 2)
		if !strings.Contains(b.log.String(), "fetch probe 2.0.0 with pip: run pip: exit status 1") {
			t.Errorf("the log does not say why npm was taken:\n%s", b.log.String())
		}
	})
}

func TestSetupTwiceDoesNothing(t *testing.T) {
	check := func(t *testing.T, b *box, i int) {
		b.wantInstalled(t, i)
		if err := os.RemoveAll(filepath.Join(b.root, "bin")); err != nil {
			t.Fatal(err)
		}
		b.log.Reset()
		b.wantInstalled(t, i)
		if log := b.log.String(); !strings.Contains(log, "already there") {
			t.Errorf("the second setup says %q", log)
		}
	}
	t.Run("pip", func(t *testing.T) {
		b := newBox(t)
		b.pip(t, "pip", b.wheel(t, b.library))
		check(t, b, 1)
	})
	t.Run("npm", func(t *testing.T) {
		b := newBox(t)
		b.npm(t, b.tarball(t, b.library))
		check(t, b, 2)
	})
}

func TestSetupReplacesADamagedLibrary(t *testing.T) {
	b := newBox(t)
	writeFile(t, b.target(1), "torn", 0o644)
	b.pip(t, "pip", b.wheel(t, b.library))
	b.wantInstalled(t, 1)
	if !strings.Contains(b.log.String(), "replacing "+b.target(1)) {
		t.Errorf("the log does not say so:\n%s", b.log.String())
	}
}

func TestSetupKeepsNothingOfABadDownload(t *testing.T) {
	other := []byte("not the library")
	sum := sha256.Sum256(other)
	t.Run("wrong library in the wheel", func(t *testing.T) {
		b := newBox(t)
		b.pip(t, "pip", b.wheel(t, other))
		b.wantFailure(t, hex.EncodeToString(sum[:]), b.releases[1].sha256, "nothing was kept")
	})
	t.Run("wrong library in the tarball", func(t *testing.T) {
		b := newBox(t)
		b.npm(t, b.tarball(t, other))
		b.wantFailure(t, hex.EncodeToString(sum[:]), b.releases[2].sha256, "nothing was kept")
	})
	t.Run("no wheel", func(t *testing.T) {
		b := newBox(t)
		b.pip(t, "pip", []byte("<html>sign in</html>"))
		b.wantFailure(t, "extract probe/capi/libprobe.so.2.0.0 from probe-2.0.0-cp312.whl", "not a valid zip file")
	})
	t.Run("cut tarball", func(t *testing.T) {
		b := newBox(t)
		whole := b.tarball(t, b.library)
		b.npm(t, whole[:len(whole)/2])
		b.wantFailure(t, "extract package/bin/libprobe.so.1", "unexpected EOF")
	})
	t.Run("damaged wheel", func(t *testing.T) {
		b := newBox(t)
		archive := b.wheel(t, b.library)
		at := bytes.Index(archive, b.library[1000:1032])
		if at < 0 {
			t.Fatal("the library is not stored as it is")
		}
		archive[at] ^= 1
		b.pip(t, "pip", archive)
		b.wantFailure(t, "checksum error")
	})
	t.Run("library missing in the wheel", func(t *testing.T) {
		b := newBox(t)
		archive := b.wheel(t, b.library)
		b.releases[1].member = "probe/capi/libprobe.so.3"
		b.pip(t, "pip", archive)
		b.wantFailure(t, "probe/capi/libprobe.so.3", "file does not exist")
	})
	t.Run("library missing in the tarball", func(t *testing.T) {
		b := newBox(t)
		archive := b.tarball(t, b.library)
		b.releases[2].member = "package/bin/libprobe.so.3"
		b.npm(t, archive)
		b.wantFailure(t, "package/bin/libprobe.so.3", "no such member")
	})
	t.Run("nothing downloaded", func(t *testing.T) {
		b := newBox(t)
		b.script(t, "pip", "exit 0")
		b.wantFailure(t, "left 0 files *.whl")
	})
}

func TestSetupInterrupted(t *testing.T) {
	t.Run("while downloading", func(t *testing.T) {
		b := newBox(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		started := filepath.Join(b.root, "started")
		b.script(t, "pip", fmt.Sprintf("[ \"$1\" = --version ] && exit 0\n: > %s\nexec /bin/sleep 60\n", started))
		b.npm(t, b.tarball(t, b.library)) // must not be tried once it is all called off
		done := make(chan error)
		go func() {
			_, err := setup(ctx, &b.log, "probe", testEnv, b.releases)
			done <- err
		}()
		for {
			if _, err := os.Stat(started); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if files := b.cached(t); len(files) != 0 {
			t.Errorf("left %q", files)
		}
	})
	t.Run("while extracting", func(t *testing.T) {
		b := newBox(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.pip(t, "pip", b.wheel(t, b.library))
		b.releases[1].channel = cancelling{pip{}, cancel}
		if _, err := setup(ctx, &b.log, "probe", testEnv, b.releases); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if files := b.cached(t); len(files) != 0 {
			t.Errorf("left %q", files)
		}
	})
}

// cancelling calls everything off between the download and the extraction.
type cancelling struct {
	channel
	cancel func()
}

func (c cancelling) fetch(ctx context.Context, log io.Writer, dir, engine string, r release) (string, error) {
	path, err := c.channel.fetch(ctx, log, dir, engine, r)
	c.cancel()
	return path, err
}

func TestSetupLeavesNoDownloadBehind(t *testing.T) {
	b := newBox(t)
	temp := filepath.Join(b.root, "tmp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	b.pip(t, "pip", b.wheel(t, []byte("bad")))
	b.wantFailure(t)
	b.pip(t, "pip", b.wheel(t, b.library))
	b.wantInstalled(t, 1)
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestSetupWithoutPackageManagers(t *testing.T) {
	b := newBox(t)
	b.wantFailure(t, "no pip here", "no npm here", testEnv)
}

func TestSetupOnAForeignMachine(t *testing.T) {
	b := newBox(t)
	b.releases = b.releases[:1]
	b.wantFailure(t, "no pinned package for "+runtime.GOOS+"/"+runtime.GOARCH, testEnv)
}

func TestSetupHonoursTheCacheVariable(t *testing.T) {
	b := newBox(t)
	t.Setenv(CacheEnv, filepath.Join(b.root, "over there"))
	b.pip(t, "pip", b.wheel(t, b.library))
	path, err := b.setup(t)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(b.root, "over there", "probe"); !strings.HasPrefix(path, want) {
		t.Errorf("installed %s, want it below %s", path, want)
	}
}

func TestSetupOnAFullOrForbiddenCache(t *testing.T) {
	b := newBox(t)
	writeFile(t, filepath.Join(b.root, "file"), "", 0o644)
	t.Setenv(CacheEnv, filepath.Join(b.root, "file"))
	b.pip(t, "pip", b.wheel(t, b.library))
	b.wantFailure(t, filepath.Join(b.root, "file"), "not a directory")
}

// TestPins keeps the table well-formed; `genbench setup` on a machine with a
// network is what proves a digest.
func TestPins(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range onnxRuntimeReleases() {
		sum, err := hex.DecodeString(r.sha256)
		if err != nil || len(sum) != sha256.Size {
			t.Errorf("%s %s: %q is no sha256", r.version, r.arch, r.sha256)
		}
		if key := r.arch + r.channel.name(); seen[key] {
			t.Errorf("%s is pinned twice for %s", r.arch, r.channel.name())
		} else {
			seen[key] = true
		}
		if !strings.HasPrefix(filepath.Base(r.member), "libonnxruntime.so.1") {
			t.Errorf("%s: member %s", r.version, r.member)
		}
	}
	for _, key := range []string{"amd64pip", "amd64npm", "arm64pip", "arm64npm"} {
		if !seen[key] {
			t.Errorf("nothing pinned for %s", key)
		}
	}
}

// TestSetupOfSeveralLibraries wants all of a release's files or none to count.
func TestSetupOfSeveralLibraries(t *testing.T) {
	b := newBox(t)
	sum := sha256.Sum256(b.library)
	b.releases = b.releases[1:2]
	b.releases[0].beside = []file{{"probe/capi/libprobe_gpu.so", hex.EncodeToString(sum[:])}}
	var wheel bytes.Buffer
	z := zip.NewWriter(&wheel)
	for _, f := range b.releases[0].files() {
		w, err := z.Create(f.member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b.library); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b.pip(t, "pip", wheel.Bytes())
	path, err := b.setup(t)
	if err != nil {
		t.Fatal(err)
	}
	if path != b.target(0) {
		t.Errorf("installed %s, want %s", path, b.target(0))
	}
	second := filepath.Join(filepath.Dir(path), "libprobe_gpu.so")
	if err := os.WriteFile(second, []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.setup(t); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(second); err != nil || !bytes.Equal(text, b.library) {
		t.Errorf("a damaged library beside the main one stays: %v\n%s", err, b.log.String())
	}
	if !strings.Contains(b.log.String(), "replacing "+second) {
		t.Errorf("it is not told what was damaged: %s", b.log.String())
	}
}

// TestSetupOfSeveralPackages wants the libraries of all packages in one folder, that
// of the release last, and only what is missing to be fetched again.
func TestSetupOfSeveralPackages(t *testing.T) {
	b := newBox(t)
	sum := sha256.Sum256(b.library)
	pinned := hex.EncodeToString(sum[:])
	one := func(name, version, member string) release {
		return release{name: name, version: version, arch: runtime.GOARCH, platform: "manylinux_2_27", channel: pip{}, file: file{member, pinned}}
	}
	whole := one("vendor-probe-cu12", "2.0.0", "vendor/probe/lib/libprobe.so.2")
	whole.with = []release{one("vendor-rtc", "1.5", "vendor/rtc/lib/librtc.so.1"), one("vendor-blas", "7.0", "vendor/blas/lib/libblas.so.7")}
	b.releases = []release{whole}
	for _, r := range whole.packages() {
		var wheel bytes.Buffer
		z := zip.NewWriter(&wheel)
		w, err := z.Create(r.member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b.library); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(b.root, "index", r.name+"=="+r.version), wheel.String(), 0o644)
	}
	index := func(body string) {
		b.script(t, "pip", fmt.Sprintf(`
[ "$1" = --version ] && exit 0
case "$*" in *"--platform manylinux_2_27_"*) ;; *) exit 2;; esac
while [ "$1" != --dest ]; do shift; done
%s
echo "asked for $3"
/bin/cp %s/index/"$3" "$2/$3.whl"
`, body, b.root))
	}
	folder := filepath.Join(b.root, "home", ".cache", "genbench", "probe", "vendor-probe-cu12-2.0.0-linux-"+runtime.GOARCH)

	// The last package cannot be had: the library that the search looks for is not there.
	index(`case "$3" in vendor-probe*) exit 1;; esac`)
	if path, err := b.setup(t); err == nil || !strings.Contains(err.Error(), "fetch vendor-probe-cu12 2.0.0 with pip") {
		t.Fatalf("got %s, %v", path, err)
	}
	if files := b.cached(t); len(files) != 2 || strings.Contains(strings.Join(files, " "), "libprobe") {
		t.Errorf("left %q", files)
	}

	index("")
	b.log.Reset()
	path, err := b.setup(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.log.String())
	}
	if path != filepath.Join(folder, "libprobe.so.2") || len(b.cached(t)) != 3 {
		t.Errorf("installed %s among %q", path, b.cached(t))
	}
	if log := b.log.String(); strings.Contains(log, "asked for vendor-rtc") || strings.Contains(log, "asked for vendor-blas") {
		t.Errorf("what is there is fetched again: %s", log)
	}

	blas := filepath.Join(folder, "libblas.so.7")
	writeFile(t, blas, "damaged", 0o755)
	b.log.Reset()
	if _, err := b.setup(t); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(blas); err != nil || !bytes.Equal(text, b.library) {
		t.Errorf("a damaged library of another package stays: %v", err)
	}
	if log := b.log.String(); strings.Count(log, "replacing "+blas) != 1 || strings.Contains(log, "asked for vendor-probe") {
		t.Errorf("the log says\n%s", log)
	}
}

func TestChoiceOfGPURelease(t *testing.T) {
	for _, c := range []struct {
		gpu  GPU
		want string
	}{
		{GPU{"V100", 7, 0, 13000}, "1.24.4"},
		{GPU{"T4", 7, 5, 12020}, "1.24.4"},
		{GPU{"T4", 7, 5, 13000}, "1.31.1"},
		{GPU{"H200", 9, 0, 13010}, "1.31.1"},
		{GPU{"B200", 10, 0, 13000}, "1.24.4"},
		{GPU{"GB300", 10, 3, 13010}, "1.24.4"},
		{GPU{"Thor", 11, 0, 13000}, "1.24.4"},
		{GPU{"RTX 5090", 12, 0, 13000}, "1.31.1"},
		{GPU{"K80", 3, 7, 11040}, ""},
	} {
		r, _, err := choose(onnxRuntimeGPUReleases(), c.gpu)
		if r.version != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: got %q, %v", c.gpu, r.version, err)
		}
		if err != nil && !strings.Contains(err.Error(), "compute capability 3.7, driver for CUDA 11.4") {
			t.Errorf("%v is not told: %v", c.gpu, err)
		}
	}
	for _, r := range onnxRuntimeGPUReleases() {
		for _, f := range r.files() {
			if sum, err := hex.DecodeString(f.sha256); err != nil || len(sum) != sha256.Size {
				t.Errorf("%s: %q is no sha256", f.member, f.sha256)
			}
		}
	}
}
