package deploy

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// project loads compose.yaml as Docker Compose does, which checks its schema.
func project(env ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "examples", "compose", "compose.yaml")},
		cli.WithEnv(env), cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func TestCompose(t *testing.T) {
	if _, err := project(); err == nil || !strings.Contains(err.Error(), "write it into .env") {
		t.Errorf("without a secret: %v", err)
	}
	p, err := project("FRAPPE_AUTH_SECRET=" + strings.Repeat("0123456789abcdef", 4))
	if err != nil {
		t.Fatal(err)
	}
	caddy := p.Services["caddy"]
	if want, err := filepath.Abs(root); err != nil || caddy.Build == nil || caddy.Build.Context != want {
		t.Errorf("the image is built from %+v, not from %s: %v", caddy.Build, want, err)
	}
	mounts := make(map[string]types.ServiceVolumeConfig)
	for _, volume := range caddy.Volumes {
		mounts[volume.Target] = volume
	}
	if sites := mounts["/home/frappe/frappe-bench/sites"]; sites.Source != "sites" || !sites.ReadOnly {
		t.Errorf("the sites: %+v", sites)
	}
	if caddyfile := mounts["/etc/caddy/Caddyfile"]; !caddyfile.ReadOnly || filepath.Base(caddyfile.Source) != "Caddyfile" {
		t.Errorf("the Caddyfile: %+v", caddyfile)
	}
	// The rest of the file system is read-only, so each volume of the image must have a volume here.
	for _, stage := range stages(t)[1:] {
		for _, target := range volumesOf(stage) {
			if mounts[target].Source == "" {
				t.Errorf("%s is not mounted", target)
			}
		}
	}
	if !bool(p.Networks["frappe"].External) || !bool(p.Volumes["sites"].External) {
		t.Error("network and volume are frappe_docker's own")
	}
	for _, name := range []string{"default", "frappe"} {
		if _, ok := caddy.Networks[name]; !ok {
			t.Errorf("caddy is not in the network %s", name)
		}
	}
	// Hosts in the Caddyfile are services here, or services of frappe_docker.
	for _, upstream := range []string{"app:80", "backend:8000", "redis-queue:6379", "redis-cache:6379"} {
		if !strings.Contains(string(read(t, "examples/compose/Caddyfile")), upstream) {
			t.Errorf("the Caddyfile does not name %s", upstream)
		}
	}
	for _, name := range []string{"SITE", "FRAPPE_AUTH_SECRET"} {
		if value := caddy.Environment[name]; value == nil || *value == "" {
			t.Errorf("%s is not set", name)
		}
	}
}
