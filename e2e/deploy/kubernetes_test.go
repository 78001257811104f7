package deploy

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// cluster is what `kubectl apply -k examples/kubernetes` applies.
type cluster struct {
	deployment apps.Deployment
	service    core.Service
	secret     core.Secret
	caddyfile  core.ConfigMap
	budget     policy.PodDisruptionBudget
	monitor    monitoring.ServiceMonitor
}

// apply builds the kustomization and decodes each document strictly: unknown and repeated fields are errors.
func apply(t *testing.T) (c cluster) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(),
		root+"/examples/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, apps.AddToScheme, policy.AddToScheme,
		monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	kinds := make(map[string]int)
	for _, resource := range built.Resources() {
		raw, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, kind, err := decoder.Decode(raw, &schema.GroupVersionKind{}, nil)
		if err != nil {
			t.Fatalf("%s: %v", resource.CurId(), err)
		}
		kinds[kind.Kind]++
		switch o := object.(type) {
		case *apps.Deployment:
			c.deployment = *o
		case *core.Service:
			c.service = *o
		case *core.Secret:
			c.secret = *o
		case *core.ConfigMap:
			c.caddyfile = *o
		case *policy.PodDisruptionBudget:
			c.budget = *o
		case *monitoring.ServiceMonitor:
			c.monitor = *o
		}
		if kind.Kind != "Namespace" && resource.GetNamespace() != "frappe-auth" {
			t.Errorf("%s is in the namespace %q", resource.CurId(), resource.GetNamespace())
		}
	}
	want := map[string]int{
		"Namespace": 1, "Deployment": 1, "Service": 1, "Secret": 1, "ConfigMap": 1,
		"PodDisruptionBudget": 1, "ServiceMonitor": 1,
	}
	if !maps.Equal(kinds, want) {
		t.Fatalf("%v", kinds)
	}
	return c
}

// TestKubernetes: the documents are valid, and the names in them refer to each other.
func TestKubernetes(t *testing.T) {
	c := apply(t)
	pod := c.deployment.Spec.Template
	container := pod.Spec.Containers[0]

	for what, selector := range map[string]map[string]string{
		"Deployment": c.deployment.Spec.Selector.MatchLabels, "Service": c.service.Spec.Selector,
		"PodDisruptionBudget":       c.budget.Spec.Selector.MatchLabels,
		"topologySpreadConstraints": pod.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s selects %v, but the pods have %v", what, selector, pod.Labels)
		}
	}
	if !labels.SelectorFromSet(c.monitor.Spec.Selector.MatchLabels).Matches(labels.Set(c.service.Labels)) {
		t.Errorf("the ServiceMonitor selects %v, but the Service has %v", c.monitor.Spec.Selector.MatchLabels,
			c.service.Labels)
	}

	ports := make(map[string]int32)
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	servicePorts := make(map[string]bool)
	for _, port := range c.service.Spec.Ports {
		servicePorts[port.Name] = true
		if _, ok := ports[port.TargetPort.StrVal]; !ok {
			t.Errorf("the Service's port %s goes to %q, which no container has", port.Name, port.TargetPort.StrVal)
		}
	}
	if !servicePorts[c.monitor.Spec.Endpoints[0].Port] {
		t.Errorf("the ServiceMonitor asks the port %q", c.monitor.Spec.Endpoints[0].Port)
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
		if site := fmt.Sprintf("\n:%d {\n", port); !containsText(c.caddyfile.Data["Caddyfile"], site) {
			t.Errorf("the Caddyfile has no site for the port %s, %d", name, port)
		}
	}

	if container.EnvFrom[0].SecretRef.Name != c.secret.Name {
		t.Errorf("the pods take %q, not %q", container.EnvFrom[0].SecretRef.Name, c.secret.Name)
	}
	for name, value := range c.secret.StringData {
		if value != "" {
			t.Errorf("%s is not empty: it would be everybody's", name)
		}
		if !containsText(c.caddyfile.Data["Caddyfile"], "{env."+name+"}") {
			t.Errorf("the Caddyfile does not use %s", name)
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
	if replicas := *c.deployment.Spec.Replicas; replicas < 2 || c.budget.Spec.MinAvailable.IntVal >= replicas {
		t.Errorf("%d pods, of which %d stay: no node could be drained", replicas, c.budget.Spec.MinAvailable.IntVal)
	}
	// shutdown_delay and grace_period.
	if seconds := *pod.Spec.TerminationGracePeriodSeconds; seconds < 25+1 {
		t.Errorf("pods are killed after %d seconds", seconds)
	}
}
