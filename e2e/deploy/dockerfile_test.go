// Package deploy checks the Dockerfile, the examples for Compose, Kubernetes and systemd, and the configuration of
// releases. The Caddyfiles of the examples are tested in e2e.
package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const root = "../.."

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// stages returns the stages of the Dockerfile as BuildKit parses it, without warnings.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(bytes.NewReader(read(t, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	lint := linter.New(&linter.Config{Warn: func(name, _, _, message string,
		_ []parser.Range,
	) {
		t.Errorf("%s: %s", name, message)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// TestDockerfile: .ci/build builds Caddy on the platform of the builder, and the image runs as a user without rights,
// with a health check. .ci/smoke tests the commands of the Dockerfile.
func TestDockerfile(t *testing.T) {
	all := stages(t)
	if len(all) != 2 {
		t.Fatalf("%d stages", len(all))
	}
	build, image := all[0], all[1]
	if build.Platform != "$BUILDPLATFORM" {
		t.Errorf("the compiler runs on %q", build.Platform)
	}
	var runs []string
	for _, command := range build.Commands {
		if run, ok := command.(*instructions.RunCommand); ok {
			runs = append(runs, run.CmdLine...)
		}
	}
	if !slices.ContainsFunc(runs, func(run string) bool {
		return strings.HasSuffix(run, "GOOS=$TARGETOS GOARCH=$TARGETARCH .ci/build /out/caddy")
	}) {
		t.Errorf("the build runs %q", runs)
	}
	var user string
	var healthy, starts, configured bool
	for _, command := range image.Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.HealthCheckCommand:
			healthy = c.Health.Test[0] == "CMD" && c.Health.Test[1] == "wget"
		case *instructions.CmdCommand:
			starts = !c.PrependShell && slices.Equal(c.CmdLine[:2], []string{"caddy", "run"})
			configured = configured && slices.Contains(c.CmdLine, "/etc/caddy/Caddyfile")
		case *instructions.CopyCommand: // .ci/smoke runs it
			configured = configured || c.DestPath == "/etc/caddy/Caddyfile" && len(c.SourceContents) == 1
		case *instructions.RunCommand:
			t.Errorf("the last stage runs %q, for which another platform needs emulation", c.CmdLine)
		}
	}
	if user != "1000:1000" || !healthy || !starts || !configured {
		t.Errorf("user %q, health check %v, command %v, Caddyfile %v", user, healthy, starts, configured)
	}
}

// TestDockerignore: the build context has the files that the build reads, and no history.
func TestDockerignore(t *testing.T) {
	ignored := strings.Fields(string(read(t, ".dockerignore")))
	for _, name := range []string{
		"go.mod", "go.sum", ".ci", ".ci/build", "database", "site", "internal", "frappe",
		"static", "*.go", "**/*.go",
	} {
		if slices.Contains(ignored, name) {
			t.Errorf("%s is ignored", name)
		}
	}
	if !slices.Contains(ignored, ".git") {
		t.Error(".git is in the context")
	}
}

func volumesOf(stage instructions.Stage) (volumes []string) {
	for _, command := range stage.Commands {
		if c, ok := command.(*instructions.VolumeCommand); ok {
			volumes = append(volumes, c.Volumes...)
		}
	}
	return volumes
}
