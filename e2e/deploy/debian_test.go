package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// debian is a root of a Debian system with nothing in it but packages named caddy.
type debian struct {
	t    *testing.T
	root string
}

func (d *debian) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.CommandContext(d.t.Context(), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func (d *debian) write(name, content string, mode os.FileMode) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		d.t.Fatal(err)
	}
}

// installs installs a version of the package caddy, whose program is the version as text.
func (d *debian) installs(version string) {
	d.t.Helper()
	dir := d.t.TempDir()
	d.write(filepath.Join(dir, "DEBIAN", "control"), "Package: caddy\nVersion: "+version+
		"\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: a test\n", 0o644)
	d.write(filepath.Join(dir, "usr", "bin", "caddy"), "package "+version, 0o755)
	d.run("dpkg-deb", "--build", dir, dir+".deb")
	d.run("dpkg", "--root="+d.root, "--install", dir+".deb")
}

// content returns what is in a file. Links lead to places below the root.
func (d *debian) content(name string) string {
	d.t.Helper()
	for range 5 {
		to, err := os.Readlink(filepath.Join(d.root, name))
		if err != nil {
			break
		}
		name = to
	}
	raw, err := os.ReadFile(filepath.Join(d.root, name))
	if err != nil {
		d.t.Error(err)
	}
	return string(raw)
}

// TestDebian: after the commands of examples/systemd/README.md, the binary is used also after an update of the package.
func TestDebian(t *testing.T) {
	if _, err := exec.LookPath("dpkg-divert"); err != nil || os.Geteuid() != 0 {
		t.Skip("only root of a Debian system can install packages")
	}
	d := &debian{t: t, root: t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/alternatives", "var/log", "etc/alternatives"} {
		if err := os.MkdirAll(filepath.Join(d.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.write(filepath.Join(d.root, "var/lib/dpkg/status"), "", 0o644)
	d.installs("1")
	built := filepath.Join(t.TempDir(), "caddy")
	d.write(built, "built", 0o755)
	readme := string(read(t, "examples/systemd/README.md"))
	commands := regexp.MustCompile("(?s)```sh\n(dpkg-divert .*?)```").FindStringSubmatch(readme)[1]
	back := regexp.MustCompile("`(update-alternatives --set .*?)`").FindStringSubmatch(readme)[1]
	here := strings.NewReplacer("dpkg-divert ", "dpkg-divert --root="+d.root+" ",
		"update-alternatives ", "update-alternatives --root "+d.root+" --log "+d.root+"/var/log/alternatives.log ",
		"755 caddy /usr", "755 "+built+" "+d.root+"/usr", "systemctl restart caddy", "")
	d.run("sh", "-euc", here.Replace(commands))
	for _, version := range []string{"1", "2"} {
		d.installs(version)
		if got, other := d.content("/usr/bin/caddy"), d.content("/usr/bin/caddy.default"); got != "built" || other != "package "+version {
			t.Errorf("with version %s: %q and %q", version, got, other)
		}
	}
	d.run("sh", "-euc", here.Replace(back))
	if got := d.content("/usr/bin/caddy"); got != "package 2" {
		t.Errorf("back at %q", got)
	}
}
