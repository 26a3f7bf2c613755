//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package directory

import "os"

// Lock opens the file only: here it is up to the operator that no two servers use one
// directory.
func Lock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
