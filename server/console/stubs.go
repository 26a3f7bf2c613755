package console

import "net/http"

var errSoon = fail(http.StatusNotImplemented, "not here yet")

func (c *Console) server(*http.Request) (any, error)   { return nil, errSoon }
func (c *Console) listApps(*http.Request) (any, error) { return nil, errSoon }
func (c *Console) node(*http.Request) (any, error)     { return nil, errSoon }
