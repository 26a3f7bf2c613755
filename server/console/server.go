package console

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/refusals"
)

// process identifies the process that answers.
type process struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Go        string `json:"go"`
	Host      string `json:"host"`
	PID       int    `json:"pid"`
	StartedAt int64  `json:"started_at"` // milliseconds since 1970, as all that ends in At
	NowAt     int64  `json:"now_at"`
}

func (c *Console) process() process {
	host, _ := os.Hostname() // empty if it is not known
	return process{c.Version, c.Revision, c.GoVersion, host, os.Getpid(), c.started.UnixMilli(), time.Now().UnixMilli()}
}

type serverAnswer struct {
	process
	Clustered bool          `json:"clustered"`
	Cluster   clusterState  `json:"cluster"`
	Clients   clientAddress `json:"clients"`
	Apps      []appName     `json:"apps"`       // the first, and the one that was asked for
	AppsTotal int           `json:"apps_total"` // how many there are
	Config    string        `json:"config"`     // name of the file; empty if there is none
}

type clusterState struct {
	Driver string `json:"driver"`
	Ready  bool   `json:"ready"`
	Error  string `json:"error"`
}

// clientAddress is where clients connect, for a page that knows its own address.
type clientAddress struct {
	Same   bool   `json:"same"` // on the console's listener
	Up     string `json:"up"`   // from the page to there, if it is the same: ../ for each segment of the console's path
	Port   int    `json:"port"`
	Secure bool   `json:"secure"`
	Path   string `json:"path"` // prefix
}

// appName identifies an application, and says whether it is enabled.
type appName struct {
	ID      string `json:"id"`
	Key     string `json:"key"`
	Enabled bool   `json:"enabled"`
}

func nameOf(a *apps.App) appName {
	s := a.Settings()
	return appName{a.ID, s.Key, s.Enabled}
}

// maxNames is how many applications are named to choose from. Others are found by api/apps.
const maxNames = 500

// server is GET api/server. An app is named in any case, if there is one of that id.
func (c *Console) server(r *http.Request) (any, error) {
	number, _ := strconv.Atoi(port(c.Clients))
	answer := serverAnswer{
		process:   c.process(),
		Clustered: c.Config.Cluster.Driver != config.ClusterLocal,
		Cluster:   c.cluster(r),
		Clients:   clientAddress{c.same(), strings.Repeat("../", strings.Count(c.Config.Console.Path, "/")), number, c.secure(), c.Config.Server.Path},
		Apps:      []appName{},
		Config:    c.latest.Load().File(),
	}
	all := c.allApps()
	answer.AppsTotal = len(all)
	asked := r.URL.Query().Get("app")
	for i, a := range all {
		if i < maxNames || a.ID == asked {
			answer.Apps = append(answer.Apps, nameOf(a))
		}
	}
	return answer, nil
}

// cluster says whether the cluster can be reached, and tells those who may act why it
// cannot, which may name its servers.
func (c *Console) cluster(r *http.Request) clusterState {
	state := clusterState{Driver: c.Config.Cluster.Driver, Ready: true}
	if err := c.Broker.Ready(); err != nil {
		state.Ready, state.Error = false, "it cannot be reached: the log says why"
		if accountOf(r).Role == Act {
			state.Error = refusals.Clean(err.Error())
		}
	}
	return state
}

// allApps returns all applications, in the order of their ids.
func (c *Console) allApps() (all []*apps.App) {
	c.Apps.All(func(a *apps.App) { all = append(all, a) })
	slices.SortFunc(all, func(a, b *apps.App) int { return strings.Compare(a.ID, b.ID) })
	return all
}
