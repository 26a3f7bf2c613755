package deploy_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// belfry is the program, built once for all tests.
var belfry string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "belfry-deploy-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		belfry = filepath.Join(dir, "belfry")
		build := exec.Command("go", "build", "-trimpath", "-o", belfry, "./cmd/belfry")
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// check runs belfry check, in an environment of these variables alone, and returns what it
// prints. Only what listens on all addresses may be warned of: the containers' networks are
// private.
func check(t *testing.T, env []string) string {
	t.Helper()
	cmd := exec.Command(belfry, "check")
	cmd.Env = env
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("belfry check: %v\n%s", err, warnings.String())
	}
	for line := range strings.Lines(warnings.String()) {
		if !strings.Contains(line, "can read the metrics") {
			t.Errorf("belfry check: %s", line)
		}
	}
	return string(out)
}

func load(t *testing.T, file string, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(env), cli.WithName("belfry"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

var app = []string{"BELFRY_APP_ID=100001", "BELFRY_APP_KEY=app-key", "BELFRY_APP_SECRET=app-secret"}

// environment is what a service's Belfry reads, with the image's own.
func environment(s types.ServiceConfig) []string {
	env := []string{"BELFRY_LISTEN=:8080"}
	for name, value := range s.Environment {
		if value != nil {
			env = append(env, name+"="+*value)
		}
	}
	return env
}

func TestCompose(t *testing.T) {
	project := load(t, "../compose.yaml", append(app, "BELFRY_REPLICAS=2")...)
	s := project.Services["belfry"]
	if s.Deploy.Replicas == nil || *s.Deploy.Replicas != 2 {
		t.Errorf("replicas: %v", s.Deploy.Replicas)
	}
	if grace := time.Duration(*s.StopGracePeriod); grace <= 13*time.Second {
		t.Errorf("stop_grace_period is %v; Belfry takes drain_delay and shutdown_grace", grace)
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	env := environment(s)
	for i, variable := range env {
		if strings.HasPrefix(variable, "BELFRY_CONFIG=") {
			if s.Configs[0].Target != strings.TrimPrefix(variable, "BELFRY_CONFIG=") {
				t.Errorf("%s, but the file is at %s", variable, s.Configs[0].Target)
			}
			env[i] = "BELFRY_CONFIG=" + project.Configs[s.Configs[0].Source].File
		}
	}
	got := check(t, env)
	for _, want := range []string{"cluster  redis", "100001  key app-key"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if _, err := os.Stat(project.Configs[project.Services["caddy"].Configs[0].Source].File); err != nil {
		t.Error(err)
	}
}

// Without an app, Compose says what to set; it starts nothing.
func TestComposeNeedsAnApp(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"}, cli.WithEnv(app[:2]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := options.LoadProject(context.Background()); err == nil || !strings.Contains(err.Error(), "is the secret of your backend") {
		t.Errorf("error %v", err)
	}
}

func TestSail(t *testing.T) {
	// Sail's own file has the network.
	sail := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(sail, []byte("services: {laravel.test: {image: sail, networks: [sail]}}\nnetworks: {sail: {driver: bridge}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"PUSHER", "REVERB"} {
		t.Run(prefix, func(t *testing.T) {
			env := []string{prefix + "_APP_ID=7", prefix + "_APP_KEY=k7", prefix + "_APP_SECRET=s7"}
			options, err := cli.NewProjectOptions([]string{sail, "../sail.yaml"}, cli.WithEnv(env), cli.WithName("sail"))
			if err != nil {
				t.Fatal(err)
			}
			project, err := options.LoadProject(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got := check(t, environment(project.Services["belfry"])); !strings.Contains(got, "app      7  key k7") {
				t.Errorf("belfry check prints\n%s", got)
			}
		})
	}
}

func TestCoolify(t *testing.T) {
	project := load(t, "../coolify.yaml", "BELFRY_IMAGE=belfry", "SERVICE_USER_BELFRY=made-up-key", "SERVICE_PASSWORD_64_BELFRY=made-up-secret")
	s := project.Services["belfry"]
	if got := check(t, environment(s)); !strings.Contains(got, "100001  key made-up-key") {
		t.Errorf("belfry check prints\n%s", got)
	}
	if want := []string{"CMD", "/belfry", "health"}; !slices.Equal([]string(s.HealthCheck.Test), want) {
		t.Errorf("health check %q", s.HealthCheck.Test)
	}
}
