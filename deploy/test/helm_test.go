package deploy_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const chartDir = "../helm/belfry"

// Values of a small installation, and of one that uses all there is.
const (
	small = `
image: {repository: registry.example/belfry}
redis: {url: "redis://:hunter2@redis:6379/0"}
config: {apps: [{id: "100001", key: app-key, secret: app-secret}]}
`
	full = `
image: {repository: registry.example/belfry, tag: 1.2.3}
imagePullSecrets: [{name: registry}]
redis: {existingSecret: redis, existingSecretKey: address, prefix: chat}
env: [{name: APP_SECRET, valueFrom: {secretKeyRef: {name: laravel, key: secret}}}]
envFrom: [{secretRef: {name: more}}]
config:
  server: {path: /ws, trusted_proxies: [10.0.0.0/8]}
  metrics: {token: hunter2}
  log: {level: debug}
  apps: [{id: "100001", key: app-key, secret: "${APP_SECRET}"}]
autoscaling: {enabled: true, connections: 5000}
ingress: {enabled: true, host: ws.example.com, className: nginx, tlsSecret: ws-tls, annotations: {a: b}}
metrics: {serviceMonitor: {enabled: true, labels: {release: prometheus}}}
networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}
serviceAccount: {name: belfry}
podAnnotations: {a: b}
podLabels: {team: chat}
nodeSelector: {disk: ssd}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: high
`
	alone = `
image: {repository: registry.example/belfry}
config: {apps: [{id: "100001", key: app-key, secret: app-secret}]}
replicaCount: 1
`
)

// objects are what a chart makes, by kind and name.
type objects map[string]runtime.Object

func get[T runtime.Object](t *testing.T, o objects, name string) T {
	t.Helper()
	object, ok := o[name].(T)
	if !ok {
		t.Fatalf("no %s among %v", name, slices.Sorted(maps.Keys(o)))
	}
	return object
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render makes the objects as helm template does, and decodes them strictly: an unknown or
// repeated field is an error.
func render(t *testing.T, values string) (objects, error) {
	t.Helper()
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	c := loadChart(t)
	release := chartutil.ReleaseOptions{Name: "chat", Namespace: "default", IsInstall: true, Revision: 1}
	top, err := chartutil.ToRenderValues(c, given, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, top)
	if err != nil {
		return nil, err
	}
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, types, types, json.SerializerOptions{Yaml: true, Strict: true})
	made := objects{}
	for name, text := range files {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		documents := utilyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
		for {
			document := make([]byte, 1<<20)
			n, err := documents.Read(document)
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			document = bytes.TrimSpace(document[:n])
			if len(document) == 0 {
				continue
			}
			object, kind, err := strict.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			named := object.(meta.Object)
			if got := named.GetLabels()["app.kubernetes.io/instance"]; got != "chat" {
				t.Errorf("%s: the label of the release is %q", name, got)
			}
			key := kind.Kind + " " + named.GetName()
			if _, ok := made[key]; ok {
				t.Errorf("%s twice", key)
			}
			made[key] = object
		}
	}
	return made, nil
}

func mustRender(t *testing.T, values string) objects {
	t.Helper()
	made, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestChartLints(t *testing.T) {
	for name, values := range map[string]string{"small": small, "full": full, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			var given map[string]any
			if err := yaml.Unmarshal([]byte(values), &given); err != nil {
				t.Fatal(err)
			}
			for _, m := range lint.AllWithKubeVersion(chartDir, given, "default", nil).Messages {
				if m.Severity > support.InfoSev {
					t.Error(m)
				}
			}
		})
	}
}

func TestChartObjects(t *testing.T) {
	for _, tt := range []struct {
		name, values string
		want         []string
	}{
		{"small", small, []string{"Deployment chat-belfry", "PodDisruptionBudget chat-belfry", "Secret chat-belfry-config", "Secret chat-belfry-redis",
			"Service chat-belfry", "Service chat-belfry-metrics"}},
		{"full", full, []string{"Deployment chat-belfry", "HorizontalPodAutoscaler chat-belfry", "Ingress chat-belfry", "NetworkPolicy chat-belfry",
			"PodDisruptionBudget chat-belfry", "Secret chat-belfry-config", "Service chat-belfry", "Service chat-belfry-metrics", "ServiceMonitor chat-belfry"}},
		{"alone", alone, []string{"Deployment chat-belfry", "PodDisruptionBudget chat-belfry", "Secret chat-belfry-config", "Service chat-belfry", "Service chat-belfry-metrics"}},
		{"existing", small + "existingConfigSecret: mine\npodDisruptionBudget: {enabled: false}\n", []string{"Deployment chat-belfry", "Secret chat-belfry-redis",
			"Service chat-belfry", "Service chat-belfry-metrics"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made := mustRender(t, tt.values)
			if got := slices.Sorted(maps.Keys(made)); !slices.Equal(got, tt.want) {
				t.Errorf("objects %q, want %q", got, tt.want)
			}
			pods := get[*apps.Deployment](t, made, "Deployment chat-belfry").Spec.Template
			testPods(t, made, pods)
			testSelectors(t, made, pods)
		})
	}
}

// testPods tests what holds for the pods of every installation.
func testPods(t *testing.T, made objects, pods core.PodTemplateSpec) {
	t.Helper()
	c := pods.Spec.Containers[0]

	// The restricted standard for pods.
	if s := pods.Spec.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security context of pods %+v", s)
	}
	if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("security context %+v", s)
	}
	if *pods.Spec.AutomountServiceAccountToken {
		t.Error("pods get a token that Belfry does not need")
	}

	// Probes ask ports that there are, for paths that Belfry has.
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for path, probe := range map[string]*core.Probe{"/up": c.LivenessProbe, "/ready": c.ReadinessProbe} {
		if probe.HTTPGet.Path != path || ports[probe.HTTPGet.Port.StrVal] != 8080 {
			t.Errorf("probe %+v, want %s", probe.HTTPGet, path)
		}
	}

	// The configuration is one that Belfry takes, and it ends before it is killed.
	secret := pods.Spec.Volumes[0].Secret.SecretName
	if secret == "mine" {
		return
	}
	text := get[*core.Secret](t, made, "Secret "+secret).Data["config.yaml"]
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"BELFRY_CONFIG=" + file}
	for _, e := range c.Env {
		switch {
		case e.Name == "BELFRY_CONFIG":
			if want := filepath.Join(c.VolumeMounts[0].MountPath, "config.yaml"); e.Value != want {
				t.Errorf("BELFRY_CONFIG=%s, want %s", e.Value, want)
			}
		case e.Name == "REDIS_URL":
			ref := e.ValueFrom.SecretKeyRef
			if ref.Name != "redis" {
				if url := get[*core.Secret](t, made, "Secret "+ref.Name).Data[ref.Key]; string(url) != "redis://:hunter2@redis:6379/0" {
					t.Errorf("redis.url is %q in the Secret", url)
				}
			}
			env = append(env, "REDIS_URL=redis://redis:6379/0")
		default:
			env = append(env, e.Name+"=made-up")
		}
	}
	said := check(t, env)
	if clustered := strings.Contains(said, "cluster  redis"); clustered != (secretOf(c, "REDIS_URL") != "") {
		t.Errorf("belfry check prints\n%s", said)
	}
	var config struct {
		Server struct {
			Listen        string `json:"listen"`
			DrainDelay    string `json:"drain_delay"`
			ShutdownGrace string `json:"shutdown_grace"`
		} `json:"server"`
		Metrics struct {
			Listen string `json:"listen"`
		} `json:"metrics"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.Server.Listen != ":8080" || config.Metrics.Listen != fmt.Sprintf(":%d", ports["metrics"]) {
		t.Errorf("it listens on %s and %s", config.Server.Listen, config.Metrics.Listen)
	}
	drain, err := time.ParseDuration(config.Server.DrainDelay)
	if err != nil {
		t.Fatal(err)
	}
	grace, err := time.ParseDuration(config.Server.ShutdownGrace)
	if err != nil {
		t.Fatal(err)
	}
	if killed := time.Duration(*pods.Spec.TerminationGracePeriodSeconds) * time.Second; killed < drain+grace+5*time.Second {
		t.Errorf("killed after %v; it drains for %v and %v", killed, drain, grace)
	}
	// Long enough for a probe that fails to be noticed.
	if probe := c.ReadinessProbe; drain < time.Duration(probe.PeriodSeconds*probe.FailureThreshold+probe.TimeoutSeconds)*time.Second {
		t.Errorf("drain_delay %v is over before the readiness probe has failed", drain)
	}
}

func secretOf(c core.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.ValueFrom.SecretKeyRef.Name
		}
	}
	return ""
}

// testSelectors tests that all that selects pods finds them, and scaling its deployment.
func testSelectors(t *testing.T, made objects, pods core.PodTemplateSpec) {
	t.Helper()
	finds := func(what string, selector map[string]string) {
		t.Helper()
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(pods.Labels)) {
			t.Errorf("%s selects %v, and pods have %v", what, selector, pods.Labels)
		}
	}
	for name, object := range made {
		switch o := object.(type) {
		case *apps.Deployment:
			finds(name, o.Spec.Selector.MatchLabels)
		case *core.Service:
			finds(name, o.Spec.Selector)
			if port := o.Spec.Ports[0]; !slices.ContainsFunc(pods.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == port.TargetPort.StrVal }) {
				t.Errorf("%s has a port for %s, which pods have not", name, port.TargetPort.StrVal)
			}
		case *policy.PodDisruptionBudget:
			finds(name, o.Spec.Selector.MatchLabels)
		case *networking.NetworkPolicy:
			finds(name, o.Spec.PodSelector.MatchLabels)
		case *autoscaling.HorizontalPodAutoscaler:
			if ref := o.Spec.ScaleTargetRef; made[ref.Kind+" "+ref.Name] == nil {
				t.Errorf("%s scales %v", name, ref)
			}
		case *networking.Ingress:
			for _, path := range o.Spec.Rules[0].HTTP.Paths {
				if made["Service "+path.Backend.Service.Name] == nil {
					t.Errorf("%s sends %s to %s", name, path.Path, path.Backend.Service.Name)
				}
			}
		case *monitoring.ServiceMonitor:
			service := get[*core.Service](t, made, "Service chat-belfry-metrics")
			if !labels.SelectorFromSet(o.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
				t.Errorf("%s selects %v, and the service has %v", name, o.Spec.Selector.MatchLabels, service.Labels)
			}
			if o.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name || service.Labels[o.Spec.JobLabel] != "belfry" {
				t.Errorf("%s scrapes %+v as the job %q", name, o.Spec.Endpoints[0], service.Labels[o.Spec.JobLabel])
			}
		}
	}
}

func TestChartFull(t *testing.T) {
	made := mustRender(t, full)
	deployment := get[*apps.Deployment](t, made, "Deployment chat-belfry")
	if deployment.Spec.Replicas != nil {
		t.Error("the deployment has a number of replicas, which would undo what the autoscaler decides")
	}
	if image := deployment.Spec.Template.Spec.Containers[0].Image; image != "registry.example/belfry:1.2.3" {
		t.Errorf("image %s", image)
	}
	hpa := get[*autoscaling.HorizontalPodAutoscaler](t, made, "HorizontalPodAutoscaler chat-belfry")
	if m := hpa.Spec.Metrics; len(m) != 2 || *m[0].Resource.Target.AverageUtilization != 60 || m[1].Pods.Metric.Name != "belfry_connections" || m[1].Pods.Target.AverageValue.Value() != 5000 {
		t.Errorf("metrics %+v", m)
	}
	var paths []string
	for _, p := range get[*networking.Ingress](t, made, "Ingress chat-belfry").Spec.Rules[0].HTTP.Paths {
		paths = append(paths, p.Path)
	}
	if want := []string{"/ws/app", "/ws/apps", "/ws/pusher/app"}; !slices.Equal(paths, want) {
		t.Errorf("ingress for %q, want %q", paths, want)
	}
}

// Belfry reads a changed app by itself: pods stay. Other keys need new ones.
func TestChartRestartsPodsWhenNeeded(t *testing.T) {
	sum := func(values string) string {
		return get[*apps.Deployment](t, mustRender(t, values), "Deployment chat-belfry").Spec.Template.Annotations["checksum/config"]
	}
	if sum(small) != sum(strings.Replace(small, "app-secret", "another", 1)) {
		t.Error("a changed app restarts the pods")
	}
	for _, more := range []string{"drainDelay: 20\n", "redis: {url: redis://other:6379/0}\n"} {
		if sum(alone+more) == sum(alone) {
			t.Errorf("%q does not restart the pods", more)
		}
	}
}

func TestChartRefuses(t *testing.T) {
	for _, tt := range []struct{ name, values, want string }{
		{"no image", "redis: {url: redis://r}\n", "image.repository"},
		{"several without Redis", "image: {repository: x}\n", "several replicas meet in Redis"},
		{"a misspelt key", small + "replicas: 3\n", "replicas"},
		{"what the chart sets", strings.Replace(small, "config: {", "config: {cluster: {driver: local}, ", 1), "cluster"},
		{"an address that is none", "redis: {url: redis.example}\n", "redis.url"},
		{"scaling without a measure", small + "autoscaling: {enabled: true, cpu: 0}\n", "autoscaling needs a measure"},
		{"an ingress for no name", small + "ingress: {enabled: true}\n", "ingress.host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := render(t, tt.values); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "/", "."), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
