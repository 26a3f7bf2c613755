package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"
)

//go:embed static
var embedded embed.FS

// staticFile is one that the page consists of.
type staticFile struct {
	contents []byte
	kind     string // its media type
	tag      string // its ETag
}

// kinds are the media types of static files, which systems disagree about. Others are not
// served.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// files are the static files by their path.
var files = sync.OnceValue(func() map[string]staticFile {
	files := make(map[string]staticFile)
	root, err := fs.Sub(embedded, "static")
	if err == nil {
		err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			kind, known := kinds[path.Ext(name)]
			if err != nil || d.IsDir() || !known {
				return err
			}
			contents, err := fs.ReadFile(root, name)
			sum := sha256.Sum256(contents)
			files[name] = staticFile{contents, kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
			return err
		})
	}
	if err != nil {
		panic(err) // they are in the binary
	}
	return files
})

func (c *Console) file(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files()[name]
		if !ok {
			c.refuse(w, fail(http.StatusNotFound, "no such file"))
			return
		}
		w.Header().Set("Cache-Control", "no-cache") // a browser asks whether the tag is still the same
		w.Header().Set("Content-Type", f.kind)
		w.Header().Set("ETag", f.tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.contents))
	})
}

// serveFile serves the file that the path names.
func (c *Console) serveFile(w http.ResponseWriter, r *http.Request) {
	c.file(r.URL.Path).ServeHTTP(w, r)
}
