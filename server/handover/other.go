//go:build !linux

package handover

import "context"

// Upgrade returns [ErrUnsupported].
func Upgrade(context.Context, int) (successor int, err error) { return 0, ErrUnsupported }
