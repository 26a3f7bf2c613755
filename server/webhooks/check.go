package webhooks

import "belfry/server/directory"

// CheckSpool reports whether a directory could be the spool, for one that may be
// in use by another process, or not be there yet. It leaves nothing behind. An
// empty name is no spool.
func CheckSpool(dir string) error {
	if dir == "" {
		return nil
	}
	return directory.Check(dir)
}
