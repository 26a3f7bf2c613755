//go:build dist

// Package release_test looks into dist/, which make release has made before.
package release_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const dist = "../../dist"

// Each platform has an archive with the same files in it.
func TestArchives(t *testing.T) {
	for _, platform := range []string{"linux-amd64", "linux-arm64", "darwin-arm64", "windows-amd64"} {
		exe := "belfry"
		if platform == "windows-amd64" {
			exe = "belfry.exe"
		}
		want := []string{"LICENSE", "README.md", exe, "belfry.1", "completions/_belfry", "completions/belfry.bash", "completions/belfry.fish", "config.example.yaml"}
		slices.Sort(want)
		if files := archive(t, platform); !slices.Equal(slices.Sorted(maps.Keys(files)), want) {
			t.Errorf("%s has %q", platform, slices.Sorted(maps.Keys(files)))
		}
	}
}

// archive returns the files of a platform's archive, which all are in the directory belfry.
func archive(t *testing.T, platform string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	add := func(name string, directory bool, r io.Reader) {
		t.Helper()
		relative, ok := strings.CutPrefix(name, "belfry/")
		content, err := io.ReadAll(r)
		if err != nil || !ok {
			t.Fatalf("%s: %s: %v", platform, name, err)
		}
		if !directory {
			files[relative] = content
		}
	}
	file := filepath.Join(dist, "belfry-"+platform)
	if strings.HasPrefix(platform, "windows") {
		r, err := zip.OpenReader(file + ".zip")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, f := range r.File {
			content, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(f.Name, f.FileInfo().IsDir(), content)
			content.Close()
		}
		return files
	}
	f, err := os.Open(file + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(plain)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		add(h.Name, h.FileInfo().IsDir(), r)
	}
}

// checksums.txt is of everything else, and right.
func TestChecksums(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(dist, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
	}
	files, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dist, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if f.Name() != "checksums.txt" && sums[f.Name()] != hex.EncodeToString(sum[:]) {
			t.Errorf("the checksum of %s is %q", f.Name(), sums[f.Name()])
		}
	}
	if len(sums) != len(files)-1 {
		t.Errorf("%d checksums of %d files", len(sums), len(files)-1)
	}
}

// The SBOM of a binary has the modules that are linked into it.
func TestSBOM(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(dist, "belfry-linux-amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Format != "CycloneDX" {
		t.Errorf("the format is %q", bom.Format)
	}
	got := make(map[string]string)
	for _, c := range bom.Components {
		got[c.Name] = c.Version
	}
	modules, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{end}}{{end}}", "belfry/cmd/belfry").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(modules)) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "" && got[name] != version {
			t.Errorf("%s is %q in the SBOM, and not %s", name, got[name], version)
		}
	}
}

// The binary needs no other file: neither a loader nor a library.
func TestStatic(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		f, err := elf.NewFile(bytes.NewReader(archive(t, "linux-"+arch)["belfry"]))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("the binary for %s has a segment %v: it is not static", arch, p.Type)
			}
		}
	}
}

// The binary of the release is what anybody makes of the same source, wherever it is.
func TestReproducible(t *testing.T) {
	released := archive(t, "linux-"+runtime.GOARCH)["belfry"]
	dir := t.TempDir()
	binary := filepath.Join(dir, "belfry")
	if err := os.WriteFile(binary, released, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var version, revision string
	if _, err := fmt.Sscanf(string(out), "belfry %s (%s", &version, &revision); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	revision = strings.TrimSuffix(revision, ",")

	source := filepath.Join(dir, "source")
	copySource(t, source)
	again := filepath.Join(dir, "again")
	build := exec.Command("make", "build", "BINARY="+again, "VERSION="+version, "REVISION="+revision)
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, released) {
		t.Errorf("version %s of revision %s is not the same when it is built in another directory", version, revision)
	}
}

// copySource copies what git has or would have of this directory, but not git's own.
func copySource(t *testing.T, to string) {
	t.Helper()
	const root = "../.."
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// install.sh installs what has the right checksum, and leaves all as it is otherwise.
func TestInstall(t *testing.T) {
	wrong := make(map[string][]byte) // by name, instead of what dist/ has
	downloads := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		if content, ok := wrong[name]; ok {
			_, _ = w.Write(content)
			return
		}
		http.ServeFile(w, r, filepath.Join(dist, name))
	}))
	defer downloads.Close()
	prefix := t.TempDir()
	install := func(path string) (string, error) {
		cmd := exec.Command("sh", filepath.Join(dist, "install.sh"))
		cmd.Env = []string{"PATH=" + path, "PREFIX=" + prefix, "BELFRY_URL=" + downloads.URL}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	usual := os.Getenv("PATH")
	binary := filepath.Join(prefix, "bin", "belfry")

	name := "belfry-linux-" + runtime.GOARCH + ".tar.gz"
	for what, files := range map[string]map[string][]byte{
		"is not what was released":  {name: []byte("something else")},
		"does not have " + name:     {"checksums.txt": []byte("0123  another.tar.gz\n")},
		"checksums.txt does not ha": {"checksums.txt": nil},
	} {
		wrong = files
		out, err := install(usual)
		if err == nil || !strings.Contains(out, what) {
			t.Errorf("%q is not told: %v: %s", what, err, out)
		}
		if _, err := os.Stat(binary); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: it is installed all the same: %v", what, err)
		}
	}

	wrong = nil
	out, err := install(usual)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	version, err := exec.Command(binary, "version").Output()
	if err != nil || !strings.Contains(out, string(version)) {
		t.Errorf("%s is installed: %v; said: %s", version, err, out)
	}
	if _, err := os.Stat(filepath.Join(prefix, "share", "man", "man1", "belfry.1")); err != nil {
		t.Error(err)
	}

	// Over an installation, and without curl.
	bin := t.TempDir()
	for _, program := range strings.Fields("sh uname mktemp rm awk sha256sum cut tar gzip mkdir cp chmod mv wget") {
		file, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, filepath.Join(bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := install(bin); err != nil {
		t.Errorf("without curl: %v: %s", err, out)
	}
}

// The scripts are for any shell of POSIX, without what shellcheck knows to go wrong.
func TestShellcheck(t *testing.T) {
	scripts := []string{"install.sh", "release.sh"}
	for _, name := range []string{"postinst", "prerm", "postrm", "preinst.apk", "belfry.openrc"} {
		scripts = append(scripts, filepath.Join("..", "packages", name))
	}
	if out, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
