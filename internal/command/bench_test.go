package command

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// tree creates a directory with files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenBench(t *testing.T) {
	const a, b, common = "sites/a.example/site_config.json", "sites/b.example/site_config.json",
		"sites/common_site_config.json"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  bench
		err   string
	}{
		{
			"one site",
			map[string]string{a: "{}", "sites/assets/x": ""},
			bench{sites: []string{"a.example"}, webserverPort: 8000},
			"",
		},
		{
			"everything",
			map[string]string{
				a: "{}", b: "{}",
				common: `{"default_site": "b.example", "redis_queue": "redis://127.0.0.1:11000", "webserver_port": 8001}`,
			},
			bench{
				sites: []string{"a.example", "b.example"}, defaultSite: "b.example", redisQueue: "redis://127.0.0.1:11000",
				webserverPort: 8001,
			},
			"",
		},
		{
			"port in quotes",
			map[string]string{a: "{}", common: `{"webserver_port": "8001"}`},
			bench{sites: []string{"a.example"}, webserverPort: 8001},
			"",
		},
		{
			"invalid values are ignored",
			map[string]string{a: "{}", common: `{"default_site": "gone", "webserver_port": {}}`},
			bench{sites: []string{"a.example"}, webserverPort: 8000},
			"",
		},
		{
			"the directory of sites",
			map[string]string{"a.example/site_config.json": "{}"},
			bench{sites: []string{"a.example"}, webserverPort: 8000},
			"",
		},
		{"no site", map[string]string{common: "{}"}, bench{}, "not a bench"},
		{
			"broken",
			map[string]string{a: "{}", common: `{"db_password": "s3cret"`},
			bench{},
			"is not a JSON object like Frappe's",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := tree(t, test.files)
			got, err := openBench(dir)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got the error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.sitesDir != dir && got.sitesDir != filepath.Join(dir, "sites") {
				t.Errorf("the sites are in %s", got.sitesDir)
			}
			got.sitesDir = ""
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if _, err := openBench(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestFindBench(t *testing.T) {
	empty, full := t.TempDir(), tree(t, map[string]string{"sites/a.example/site_config.json": "{}"})
	if dir, found := findBench(empty, full); !found || dir != full {
		t.Errorf("found %q", dir)
	}
	if dir, found := findBench(empty); found {
		t.Errorf("found %q", dir)
	}
}
