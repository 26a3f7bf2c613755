// Package source is where applications are looked up that the configuration does not have.
package source

import (
	"context"
	"errors"
)

// By is what an application is looked up by.
type By int

const (
	ByID By = iota
	ByKey
)

func (b By) String() string {
	if b == ByKey {
		return "key"
	}
	return "id"
}

// ErrNone says that there is no such application.
var ErrNone = errors.New("there is no such application")

// Source is where applications are looked up. All methods may be called concurrently.
type Source interface {
	// Find returns the document of an application, see config.ParseApp, or ErrNone if
	// there is none. Any other error says that the source cannot be asked now, or answers
	// what nobody understands.
	Find(ctx context.Context, by By, name string) (document []byte, err error)
	// Watch calls changed with the id of each application that changes, and with "" if any
	// may have, until ctx ends. It returns nil at once if the source cannot tell, else the
	// error that has ended it.
	Watch(ctx context.Context, changed func(id string)) error
	// Check asks for what Find needs. The error names what is missing.
	Check(ctx context.Context) error
	Close() error
}
