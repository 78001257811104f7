package resource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/resource"
)

// TestMetadataPaths: the URL of the metadata of a resource, with the examples of RFC 9728 section 3.1.
func TestMetadataPaths(t *testing.T) {
	for _, test := range []struct {
		name, resource, url string
		paths, not          []string
	}{
		{
			"RFC 9728, the first example", "https://resource.example.com",
			"https://resource.example.com/.well-known/oauth-protected-resource",
			[]string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/"},
			[]string{
				"/.well-known/oauth-protected-resource/resource1", "/.well-known/oauth-protected-resources", "/", "/.well-known/",
			},
		},
		{
			"RFC 9728, the second example", "https://resource.example.com/resource1",
			"https://resource.example.com/.well-known/oauth-protected-resource/resource1",
			[]string{
				"/.well-known/oauth-protected-resource/resource1", "/.well-known/oauth-protected-resource",
				"/.well-known/oauth-protected-resource/resource1/", "/resource1/.well-known/oauth-protected-resource",
			},
			[]string{
				"/.well-known/oauth-protected-resource/resource2", "/.well-known/oauth-protected-resource/resource1/x",
				"/.well-known/oauth-protected-resource/RESOURCE1", "/resource1", "/resource2/.well-known/oauth-protected-resource",
				"/resource1/.well-known/oauth-protected-resource/x",
			},
		},
		{
			"a slash after the host", "https://resource.example.com/",
			"https://resource.example.com/.well-known/oauth-protected-resource",
			[]string{"/.well-known/oauth-protected-resource"},
			nil,
		},
		{
			"a port and a longer path", "http://localhost:8080/api/mcp/",
			"http://localhost:8080/.well-known/oauth-protected-resource/api/mcp/",
			[]string{"/.well-known/oauth-protected-resource/api/mcp", "/.well-known/oauth-protected-resource/api/mcp/"},
			[]string{"/.well-known/oauth-protected-resource/api"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := resource.MetadataURL(test.resource); got != test.url {
				t.Errorf("the URL is %s, want %s", got, test.url)
			}
			if !resource.Serves(test.resource, resource.Path(resource.BelowURL(test.resource))) {
				t.Errorf("it is not at %s", resource.BelowURL(test.resource))
			}
			for _, path := range test.paths {
				if !resource.Serves(test.resource, path) {
					t.Errorf("it is not at %s", path)
				}
			}
			for _, path := range test.not {
				if resource.Serves(test.resource, path) {
					t.Errorf("it is at %s", path)
				}
			}
		})
	}
}

// TestCheck: which URLs can identify a resource.
func TestCheck(t *testing.T) {
	for identifier, want := range map[string]bool{
		"https://mcp.example.com/mcp": true, "https://mcp.example.com": true, "http://localhost:8080/mcp": true,
		"https://[::1]/": true, "mcp.example.com": false, "/mcp": false, "ftp://x/": false, "https://": false,
		"https://x/#y": false, "https://x/#": false, "https://x/?y": false, "https://x/?": false, "https://u@x/": false,
		"https://x/%2e": false, `https://x/"`: false, `https://x/\`: false, "https://x/ y": false, "": false,
	} {
		if err := resource.Check(identifier); (err == nil) != want {
			t.Errorf("%q: %v", identifier, err)
		}
	}
}

// TestServe: the example of RFC 9728 section 3.2, with the fields that a resource of Frappe has, and CORS.
func TestServe(t *testing.T) {
	metadata := resource.Metadata{
		Resource:               "https://resource.example.com",
		AuthorizationServers:   []string{"https://as1.example.com", "https://as2.example.net"},
		BearerMethodsSupported: []string{"header", "body"},
		ScopesSupported:        []string{"profile", "email", "phone"},
	}
	const example = `{
   "resource":
     "https://resource.example.com",
   "authorization_servers":
     ["https://as1.example.com",
      "https://as2.example.net"],
   "bearer_methods_supported":
     ["header", "body"],
   "scopes_supported":
     ["profile", "email", "phone"]
  }`
	for _, test := range []struct {
		method string
		status int
		body   bool
	}{
		{"GET", 200, true}, {"HEAD", 200, true}, {"OPTIONS", 204, false}, {"POST", 405, false}, {"DELETE", 405, false},
	} {
		t.Run(test.method, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := resource.Serve(w, httptest.NewRequest(test.method, resource.WellKnown, http.NoBody),
				metadata); err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if !test.body {
				if w.Body.Len() > 0 || w.Header().Get("Allow") == "" {
					t.Errorf("%v %s", w.Header(), w.Body)
				}
				return
			}
			var got, want map[string]any
			if err := json.Unmarshal([]byte(example), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) ||
				w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}
