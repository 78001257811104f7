package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// TestRelease: goreleaser accepts its configuration, in which unknown fields are errors, and the files that it packs
// exist.
func TestRelease(t *testing.T) {
	project, err := config.Load(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, project.Builds[0].Main)); err != nil || !info.IsDir() {
		t.Errorf("main: %v", err)
	}
	for _, file := range project.Archives[0].Files {
		if _, err := os.Stat(filepath.Join(root, file.Source)); err != nil {
			t.Error(err)
		}
	}
	if len(project.SBOMs) == 0 || project.Checksum.Algorithm != "sha256" || !project.Release.Draft {
		t.Error("no SBOM, other checksums, or published without a person")
	}
	workflow := string(read(t, ".github/workflows/release.yml"))
	if !strings.Contains(workflow, "subject-checksums: dist/"+project.Checksum.NameTemplate) {
		t.Error("the workflow does not attest what goreleaser makes")
	}
}

// TestActionsArePinned: every action is pinned to a commit, with its version in a comment for dependabot, and no
// workflow has more permissions than it needs.
func TestActionsArePinned(t *testing.T) {
	workflows, err := filepath.Glob(root + "/.github/workflows/*.yml")
	if err != nil || len(workflows) < 3 {
		t.Fatalf("%v %v", workflows, err)
	}
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, file := range workflows {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(string(raw), -1) {
			if !pinned.MatchString(use[1]) {
				t.Errorf("%s: %s", file, use[1])
			}
		}
		if !strings.Contains(string(raw), "\npermissions:\n  contents: read\n") {
			t.Errorf("%s may write by default", file)
		}
		for _, run := range regexp.MustCompile(`run: (\.ci/run.*)`).FindAllStringSubmatch(string(raw), -1) {
			for _, part := range strings.Fields(run[1])[1:] {
				if !strings.Contains(string(read(t, ".ci/run")), part) {
					t.Errorf("%s: .ci/run has no part %s", file, part)
				}
			}
		}
	}
}

// TestSystemdDropIn: systemd accepts the drop-in with the unit of Debian's package of Caddy.
func TestSystemdDropIn(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("apt-get install systemd")
	}
	units := t.TempDir()
	dropIns := filepath.Join(units, "caddy.service.d")
	if err := os.Mkdir(dropIns, 0o755); err != nil {
		t.Fatal(err)
	}
	// This machine may have neither Caddy nor its user: true stands in.
	unit := "[Unit]\nDescription=Caddy\n[Service]\nType=notify\n" +
		"ExecStart=/bin/true run --environ --config /etc/caddy/Caddyfile\nPrivateTmp=true\nProtectSystem=full\n"
	dropIn := string(read(t, "examples/systemd/frappe-auth.conf"))
	for name, content := range map[string]string{
		filepath.Join(units, "caddy.service"):      unit,
		filepath.Join(dropIns, "frappe-auth.conf"): dropIn,
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() string {
		command := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no",
			filepath.Join(units, "caddy.service"))
		command.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+units+":")
		out, err := command.CombinedOutput()
		if err != nil {
			return err.Error() + "\n" + string(out)
		}
		return string(out)
	}
	if out := verify(); strings.Contains(out, "caddy.service") || strings.Contains(out, "frappe-auth.conf") {
		t.Error(out)
	}
	if err := os.WriteFile(filepath.Join(dropIns, "frappe-auth.conf"), []byte(dropIn+"NoSuchSetting=1\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	if out := verify(); !strings.Contains(out, "NoSuchSetting") {
		t.Errorf("the drop-in is not read: %s", out)
	}
}
