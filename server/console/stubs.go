package console

import "net/http"

var errSoon = fail(http.StatusNotImplemented, "not here yet")

func (c *Console) listChannels(*http.Request) (any, error) { return nil, errSoon }
func (c *Console) showChannel(*http.Request) (any, error)  { return nil, errSoon }
func (c *Console) sendEvent(*http.Request) (any, error)    { return nil, errSoon }
func (c *Console) listWebhooks(*http.Request) (any, error) { return nil, errSoon }
func (c *Console) testWebhook(*http.Request) (any, error)  { return nil, errSoon }
