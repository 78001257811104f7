package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kubernetes = "examples/kubernetes"

// cluster is what `kubectl apply -k` applies, by kind and name. The names of generated ConfigMaps have no hash.
type cluster map[string]runtime.Object

// hash is what generated names end with.
var hash = regexp.MustCompile(`-[a-z0-9]{10}$`)

// build builds a kustomization, as `kubectl kustomize` does, and decodes each document strictly: unknown and repeated
// fields are errors.
func build(t *testing.T, directory string) cluster {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), directory)
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, apps.AddToScheme, policy.AddToScheme, autoscaling.AddToScheme, networking.AddToScheme,
		monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	c := make(cluster)
	for _, resource := range built.Resources() {
		raw, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, kind, err := decoder.Decode(raw, &schema.GroupVersionKind{}, nil)
		if err != nil {
			t.Fatalf("%s: %v", resource.CurId(), err)
		}
		c[kind.Kind+" "+hash.ReplaceAllString(resource.GetName(), "")] = object
		if kind.Kind != "Namespace" && resource.GetNamespace() != "frappe-auth" {
			t.Errorf("%s is in the namespace %q", resource.CurId(), resource.GetNamespace())
		}
	}
	return c
}

// overlay builds a kustomization that stands somewhere else.
func overlay(t *testing.T, kustomization string) cluster {
	t.Helper()
	directory := t.TempDir()
	to, err := filepath.Abs(filepath.Join(root, kubernetes))
	if err != nil {
		t.Fatal(err)
	}
	if to, err = filepath.Rel(directory, to); err != nil {
		t.Fatal(err)
	}
	kustomization = regexp.MustCompile(`(?m)^  - (base|components/.*)$`).ReplaceAllString(kustomization, "  - "+to+"/$1")
	for name, content := range map[string]string{"kustomization.yaml": kustomization, "Caddyfile": "# mine\n"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, directory)
}

// with builds the base with components.
func with(t *testing.T, components ...string) cluster {
	t.Helper()
	text := "namespace: frappe-auth\nresources:\n  - base\n"
	if len(components) > 0 {
		text += "components:\n"
	}
	for _, component := range components {
		text += "  - components/" + component + "\n"
	}
	return overlay(t, text)
}

// get returns an object of a cluster.
func get[T runtime.Object](t *testing.T, c cluster, name string) T {
	t.Helper()
	object, ok := c[name].(T)
	if !ok {
		t.Fatalf("there is no %s in %v", name, slices.Sorted(maps.Keys(c)))
	}
	return object
}

// has checks that a cluster has the base and these objects, and no others.
func (c cluster) has(t *testing.T, more ...string) {
	t.Helper()
	want := append(more, "ConfigMap caddyfile", "Deployment caddy", "Namespace frappe-auth", "PodDisruptionBudget caddy",
		"Service caddy")
	got := slices.Sorted(maps.Keys(c))
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// selects checks that a selector has labels, and selects the pods of a deployment.
func selects(t *testing.T, what string, selector map[string]string, pods *apps.Deployment) {
	t.Helper()
	if of := pods.Spec.Template.Labels; len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(of)) {
		t.Errorf("%s selects %v, but the pods have %v", what, selector, of)
	}
}

// portsOf returns the ports of a deployment's container.
func portsOf(d *apps.Deployment) map[string]int32 {
	ports := make(map[string]int32)
	for _, port := range d.Spec.Template.Spec.Containers[0].Ports {
		ports[port.Name] = port.ContainerPort
	}
	return ports
}

// restricted checks what the namespace demands of pods, and that nothing writes to the file system of the image.
func restricted(t *testing.T, d *apps.Deployment) {
	t.Helper()
	pod, container := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0].SecurityContext
	if !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault ||
		*container.AllowPrivilegeEscalation || container.Capabilities.Drop[0] != "ALL" || !*container.ReadOnlyRootFilesystem {
		t.Errorf("%s is not restricted", d.Name)
	}
}

// TestKubernetes: the documents of the base are valid, and the names in them refer to each other.
func TestKubernetes(t *testing.T) {
	c := with(t)
	c.has(t)
	deployment := get[*apps.Deployment](t, c, "Deployment caddy")
	service := get[*core.Service](t, c, "Service caddy")
	caddyfile := get[*core.ConfigMap](t, c, "ConfigMap caddyfile").Data["Caddyfile"]
	budget := get[*policy.PodDisruptionBudget](t, c, "PodDisruptionBudget caddy")
	pod := deployment.Spec.Template
	container := pod.Spec.Containers[0]
	restricted(t, deployment)
	selects(t, "Deployment", deployment.Spec.Selector.MatchLabels, deployment)
	selects(t, "Service", service.Spec.Selector, deployment)
	selects(t, "PodDisruptionBudget", budget.Spec.Selector.MatchLabels, deployment)
	selects(t, "topologySpreadConstraints", pod.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels, deployment)

	ports := portsOf(deployment)
	for _, port := range service.Spec.Ports {
		if _, ok := ports[port.TargetPort.StrVal]; !ok {
			t.Errorf("the Service's port %s goes to %q, which no container has", port.Name, port.TargetPort.StrVal)
		}
	}
	for name, probe := range map[string]*core.Probe{
		"startup":   container.StartupProbe,
		"readiness": container.ReadinessProbe, "liveness": container.LivenessProbe,
	} {
		if probe == nil || probe.HTTPGet.Path != "/healthz" || probe.HTTPGet.Port != intstr.FromString("metrics") {
			t.Errorf("the %s probe is %+v", name, probe)
		}
	}
	// The Caddyfile has the same ports.
	for name, port := range ports {
		if site := fmt.Sprintf("\n:%d {\n", port); !strings.Contains(caddyfile, site) {
			t.Errorf("the Caddyfile has no site for the port %s, %d", name, port)
		}
	}

	mounted := make(map[string]bool)
	for _, mount := range container.VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("there is no volume %s", mount.Name)
		}
		mounted[mount.MountPath] = true
	}
	for _, path := range append(volumesOf(stages(t)[1]), "/etc/caddy") {
		if !mounted[path] {
			t.Errorf("%s is not mounted, and the file system is read-only", path)
		}
	}
	if replicas := *deployment.Spec.Replicas; replicas < 2 || budget.Spec.MinAvailable.IntVal >= replicas {
		t.Errorf("%d pods, of which %d stay: no node could be drained", replicas, budget.Spec.MinAvailable.IntVal)
	}
	// shutdown_delay and grace_period.
	if seconds := *pod.Spec.TerminationGracePeriodSeconds; seconds < 25+1 {
		t.Errorf("pods are killed after %d seconds", seconds)
	}
}

// TestKubernetesRedis: the Caddys reach Redis with the password that it demands, and nobody else reaches it.
func TestKubernetesRedis(t *testing.T) {
	c := with(t, "redis")
	c.has(t, "Deployment redis", "NetworkPolicy redis", "Secret frappe-auth", "Service redis")
	caddy, redis := get[*apps.Deployment](t, c, "Deployment caddy"), get[*apps.Deployment](t, c, "Deployment redis")
	service, secret := get[*core.Service](t, c, "Service redis"), get[*core.Secret](t, c, "Secret frappe-auth")
	allowed := get[*networking.NetworkPolicy](t, c, "NetworkPolicy redis")
	restricted(t, redis)
	selects(t, "Deployment", redis.Spec.Selector.MatchLabels, redis)
	selects(t, "Service", service.Spec.Selector, redis)
	selects(t, "NetworkPolicy", allowed.Spec.PodSelector.MatchLabels, redis)
	selects(t, "NetworkPolicy", allowed.Spec.Ingress[0].From[0].PodSelector.MatchLabels, caddy)
	if port := portsOf(redis)["redis"]; service.Spec.Ports[0].TargetPort.StrVal != "redis" ||
		service.Spec.Ports[0].Port != port || allowed.Spec.Ingress[0].Ports[0].Port.StrVal != "redis" {
		t.Errorf("Redis has the port %d, and the others another", port)
	}
	caddyfile := get[*core.ConfigMap](t, c, "ConfigMap caddyfile").Data
	if !strings.Contains(caddyfile["Caddyfile"], "import *.caddyfile\n") ||
		!strings.Contains(caddyfile["redis.caddyfile"], "redis://"+service.Name+":6379") {
		t.Errorf("Redis is not used: %q", caddyfile)
	}
	if got := caddy.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name; got != secret.Name {
		t.Errorf("the pods take %q, not %q", got, secret.Name)
	}
	if got := redis.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef; got.Name != secret.Name ||
		!slices.Contains(redis.Spec.Template.Spec.Containers[0].Args, "$("+got.Key+")") {
		t.Errorf("Redis takes %q", got)
	}
	for name, value := range secret.StringData {
		if value != "" {
			t.Errorf("%s is not empty: it would be everybody's", name)
		}
		if !strings.Contains(caddyfile["redis.caddyfile"], "{env."+name+"}") {
			t.Errorf("the Caddyfile does not use %s", name)
		}
	}
}

// TestKubernetesMonitoring: Prometheus finds the metrics and the alerts, and Grafana the dashboard.
func TestKubernetesMonitoring(t *testing.T) {
	c := with(t, "monitoring")
	c.has(t, "ConfigMap frappe-auth-dashboard", "PrometheusRule frappe-auth", "ServiceMonitor caddy")
	monitor, service := get[*monitoring.ServiceMonitor](t, c, "ServiceMonitor caddy"), get[*core.Service](t, c, "Service caddy")
	if !labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
		t.Errorf("the ServiceMonitor selects %v, but the Service has %v", monitor.Spec.Selector.MatchLabels, service.Labels)
	}
	if port := monitor.Spec.Endpoints[0].Port; !slices.ContainsFunc(service.Spec.Ports,
		func(p core.ServicePort) bool { return p.Name == port }) {
		t.Errorf("the ServiceMonitor asks the port %q", port)
	}
	var alerts monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(read(t, "monitoring/alerts.yml"), &alerts); err != nil {
		t.Fatal(err)
	}
	rule := get[*monitoring.PrometheusRule](t, c, "PrometheusRule frappe-auth")
	if len(alerts.Groups) == 0 || !reflect.DeepEqual(rule.Spec, alerts) {
		t.Error("the PrometheusRule has other alerts than alerts.yml; run make golden")
	}
	dashboard := get[*core.ConfigMap](t, c, "ConfigMap frappe-auth-dashboard")
	if dashboard.Data["frappe-auth.json"] != string(read(t, "monitoring/dashboard.json")) ||
		dashboard.Labels["grafana_dashboard"] == "" {
		t.Errorf("%v, or not the dashboard", dashboard.Labels)
	}
	// `kubectl apply` keeps a copy in an annotation, and annotations may have 256 KiB.
	if size := len(dashboard.Data["frappe-auth.json"]); size > 200<<10 {
		t.Errorf("the dashboard has %d bytes", size)
	}
}

// TestKubernetesNetworkPolicy: the policy is for the Caddys, and names ports that they have.
func TestKubernetesNetworkPolicy(t *testing.T) {
	c := with(t, "network-policy")
	c.has(t, "NetworkPolicy caddy")
	caddy, allowed := get[*apps.Deployment](t, c, "Deployment caddy"), get[*networking.NetworkPolicy](t, c, "NetworkPolicy caddy")
	selects(t, "NetworkPolicy", allowed.Spec.PodSelector.MatchLabels, caddy)
	if len(allowed.Spec.PolicyTypes) != 2 {
		t.Errorf("only %v is limited", allowed.Spec.PolicyTypes)
	}
	ports := portsOf(caddy)
	for _, rule := range allowed.Spec.Ingress {
		name := rule.Ports[0].Port.StrVal
		if ports[name] == 0 || len(rule.From) == 0 {
			t.Errorf("everybody may reach a port, or there is no port %q", name)
		}
		delete(ports, name)
	}
	if len(ports) > 0 {
		t.Errorf("nobody may reach %v", ports)
	}
}

// TestKubernetesAutoscaling: the autoscaler decides how many Caddys there are, and never so few that no node could be
// drained.
func TestKubernetesAutoscaling(t *testing.T) {
	c := with(t, "autoscaling")
	c.has(t, "HorizontalPodAutoscaler caddy")
	caddy := get[*apps.Deployment](t, c, "Deployment caddy")
	scaler := get[*autoscaling.HorizontalPodAutoscaler](t, c, "HorizontalPodAutoscaler caddy").Spec
	budget := get[*policy.PodDisruptionBudget](t, c, "PodDisruptionBudget caddy").Spec.MinAvailable.IntVal
	if caddy.Spec.Replicas != nil || scaler.ScaleTargetRef.Kind != "Deployment" || scaler.ScaleTargetRef.Name != caddy.Name {
		t.Errorf("%v Caddys, and the autoscaler is for %v", caddy.Spec.Replicas, scaler.ScaleTargetRef)
	}
	if *scaler.MinReplicas <= budget || scaler.MaxReplicas <= *scaler.MinReplicas {
		t.Errorf("%d to %d Caddys, of which %d stay", *scaler.MinReplicas, scaler.MaxReplicas, budget)
	}
	if caddy.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().IsZero() {
		t.Error("the pods request no CPU, of which the autoscaler computes a share")
	}
}

// TestKubernetesTogether: the kustomization of the directory has all components, and the one of the README works.
func TestKubernetesTogether(t *testing.T) {
	build(t, filepath.Join(root, kubernetes)).has(t, "ConfigMap frappe-auth-dashboard", "Deployment redis",
		"HorizontalPodAutoscaler caddy", "NetworkPolicy caddy", "NetworkPolicy redis", "PrometheusRule frappe-auth",
		"Secret frappe-auth", "Service redis", "ServiceMonitor caddy")
	readme := string(read(t, kubernetes+"/README.md"))
	_, text, _ := strings.Cut(readme, "```yaml\n")
	text, _, _ = strings.Cut(text, "```\n")
	c := overlay(t, text)
	image := get[*apps.Deployment](t, c, "Deployment caddy").Spec.Template.Spec.Containers[0].Image
	data := get[*core.ConfigMap](t, c, "ConfigMap caddyfile").Data
	if data["Caddyfile"] != "# mine\n" || data["redis.caddyfile"] == "" || !strings.HasPrefix(image, "registry.example.com/") {
		t.Errorf("%s with %q", image, data)
	}
	components, err := filepath.Glob(filepath.Join(root, kubernetes, "components", "*"))
	if err != nil || len(components) < 4 {
		t.Fatal(components, err)
	}
	for _, component := range components {
		if name := "components/" + filepath.Base(component); !strings.Contains(readme, "| `"+name+"` |") ||
			!strings.Contains(string(read(t, kubernetes+"/kustomization.yaml")), "  - "+name+"\n") {
			t.Errorf("%s is not in the README or not in kustomization.yaml", name)
		}
	}
}
