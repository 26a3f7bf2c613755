package local_test

import (
	"testing"

	"go.uber.org/goleak"

	"belfry/channels/cluster"
	"belfry/channels/cluster/clustertest"
	"belfry/channels/cluster/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	clustertest.Run(t, func(*testing.T) clustertest.Cluster { return hub{local.NewHub()} })
}

type hub struct{ *local.Hub }

func (h hub) Kill(d cluster.Driver) { h.Hub.Kill(d) }
func (h hub) Interrupt()            { h.SetDown(true) }
func (h hub) Forget()               { h.Flush() }
func (h hub) Restore()              { h.SetDown(false) }
