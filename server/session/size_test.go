package session

import (
	"testing"
	"unsafe"
)

// Every connection has a session: a byte more than a size class of the allocator costs
// each of them 16.
func TestSize(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("for 64 bits")
	}
	if size := unsafe.Sizeof(Session{}); size > 176 {
		t.Errorf("a session takes %d bytes", size)
	}
}
