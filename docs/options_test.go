package docs_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	_ "github.com/caddy-frappe/frappe-auth/database" // registers its options
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers its options
)

const optionsPage = "docs/options.md"

// blockModules are the modules whose options a block has, each with a configuration that leaves out what has a default.
var blockModules = map[string]struct{ id, config string }{
	"frappe_auth": {
		"http.handlers.frappe_auth", `{"backends": [{"backend": "site", "urls": ["http://127.0.0.1:1"]}]}`,
	},
	"frappe_auth_webhook": {"http.handlers.frappe_auth_webhook", `{"secret": "s3cret"}`},
	"backend site":        {"http.frappe_auth.backends.site", `{"urls": ["http://127.0.0.1:1"]}`},
	"backend database": {
		"http.frappe_auth.backends.database",
		`{"db_name": "x", "db_password": "x", "encryption_key": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="}`,
	},
	"backend static": {
		"http.frappe_auth.backends.static", `{"bearers": [{"hash": "` + testutil.Hash("x") + `", "user": "x"}]}`,
	},
	"share redis": {
		"http.frappe_auth.stores.redis", `{"url": "redis://127.0.0.1:1", "secret": "0123456789abcdef0123456789abcdef"}`,
	},
	"feed frappe_events": {"http.frappe_auth.feeds.frappe_events", `{"url": "redis://127.0.0.1:1"}`},
}

// row is a row of a table of options.
type row struct{ names, meaning, byDefault string }

// documented returns the tables of options on the page, by the heading above them.
func documented(t *testing.T) map[string][]row {
	t.Helper()
	blocks := make(map[string][]row)
	for section := range strings.SplitSeq(testutil.Page(t, optionsPage), "\n## ") {
		owner, text, _ := strings.Cut(section, "\n")
		_, table, ok := strings.Cut(text, "| option | meaning | default |\n|---|---|---|\n")
		if !ok {
			continue
		}
		for _, match := range regexp.MustCompile(`(?m)^\| (.*?) \| (.*) \| (.*?) \|$`).FindAllStringSubmatch(table, -1) {
			blocks[owner] = append(blocks[owner], row{match[1], match[2], match[3]})
		}
	}
	return blocks
}

// optionName finds an option at the beginning of a code span.
var optionName = regexp.MustCompile("`([a-z_]+)[^`]*`")

// TestOptionsAreDocumented: docs/options.md has a table for each block, with a row for each of its options, no others.
func TestOptionsAreDocumented(t *testing.T) {
	there := make(map[string][]string)
	for owner, rows := range documented(t) {
		for _, row := range rows {
			name := optionName.FindStringSubmatch(row.names)
			if name == nil {
				t.Fatalf("%s: %q names no option", owner, row.names)
			}
			if row.meaning == "" || row.byDefault == "" {
				t.Errorf("%s: %s has no meaning or no default", owner, name[1])
			}
			if !slices.Contains(there[owner], name[1]) {
				there[owner] = append(there[owner], name[1])
			}
		}
		slices.Sort(there[owner])
	}
	registered := directive.Registered()
	if len(registered) < 9 {
		t.Fatalf("only the blocks %q are registered", slices.Sorted(maps.Keys(registered)))
	}
	for owner, options := range registered {
		if !slices.Equal(there[owner], options) {
			t.Errorf("the page has for %s\n%q, but its options are\n%q", owner, there[owner], options)
		}
	}
	for owner := range there {
		if registered[owner] == nil {
			t.Errorf("there is no block %q", owner)
		}
	}
}

// TestBlocksAreRegistered: every backend, store, feed and handler has a registered block, so that the page and the
// hints know it.
func TestBlocksAreRegistered(t *testing.T) {
	var modules []string
	for _, info := range caddy.Modules() {
		ofTests := strings.HasSuffix(info, ".partners") || strings.Contains(info, ".test_")
		if strings.HasPrefix(info, "http.frappe_auth.") && !ofTests || strings.HasPrefix(info, "http.handlers.frappe_auth") {
			modules = append(modules, info)
		}
	}
	var known []string
	for owner, block := range blockModules {
		known = append(known, block.id)
		if directive.Registered()[owner] == nil {
			t.Errorf("the block %s is not registered", owner)
		}
	}
	slices.Sort(known)
	slices.Sort(modules)
	if !slices.Equal(known, modules) {
		t.Errorf("the modules are %q, and those with a block %q", modules, known)
	}
}

// TestJSONNames: every JSON field has the name of an option, or is in the table of the names that differ. Every name in
// that table is a field.
func TestJSONNames(t *testing.T) {
	var options []string
	for _, names := range directive.Registered() {
		options = append(options, names...)
	}
	table := testutil.Section(t, optionsPage, "JSON")
	var differ []string
	for _, row := range regexp.MustCompile(`(?m)^\| .* \| (.*) \|$`).FindAllStringSubmatch(table, -1)[1:] {
		for _, name := range optionName.FindAllStringSubmatch(row[1], -1) {
			differ = append(differ, name[1])
		}
	}
	differ = slices.DeleteFunc(differ, func(name string) bool { return name == "off" })
	fields := []string{"backend", "store", "feed"} // which name the modules
	for owner, block := range blockModules {
		info, err := caddy.GetModule(block.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range jsonNames(reflect.TypeOf(info.New())) {
			fields = append(fields, name)
			if !slices.Contains(options, name) && !slices.Contains(differ, name) {
				t.Errorf("the page does not have the field %s of %s", name, owner)
			}
		}
	}
	for _, name := range differ {
		if !slices.Contains(fields, name) {
			t.Errorf("no module has a field %s", name)
		}
	}
}

// TestProviderOptions: the page says which options the provider does not have: those of the handler alone.
func TestProviderOptions(t *testing.T) {
	_, list, _ := strings.Cut(testutil.Section(t, optionsPage, "JSON"), "except those that answer or change requests: ")
	list, _, _ = strings.Cut(list, ".")
	var shown, only []string
	for _, name := range optionName.FindAllStringSubmatch(list, -1) {
		shown = append(shown, name[1])
	}
	for _, of := range []reflect.Type{reflect.TypeFor[frappeauth.Handler](), reflect.TypeFor[frappeauth.LoginOptions]()} {
		for field := range of.Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				only = append(only, name)
			}
		}
	}
	slices.Sort(shown)
	slices.Sort(only)
	if !slices.Equal(shown, only) {
		t.Errorf("the page lists %q, but only the handler has %q", shown, only)
	}
}

// jsonNames returns the JSON names of the fields of a type, and of what is in them.
func jsonNames(of reflect.Type) (names []string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.Anonymous && (!field.IsExported() || name == "" || name == "-") {
			continue
		}
		if name != "" {
			names = append(names, name)
		}
		names = append(names, jsonNames(field.Type)...)
	}
	return names
}

// TestDefaults: the defaults on the page are what the modules have after they are provisioned without these options.
func TestDefaults(t *testing.T) {
	blocks := documented(t)
	for owner, block := range blockModules {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		t.Cleanup(cancel)
		module, err := ctx.LoadModuleByID(block.id, []byte(block.config))
		if err != nil {
			t.Fatal(err)
		}
		var given map[string]any
		if err := json.Unmarshal([]byte(block.config), &given); err != nil {
			t.Fatal(err)
		}
		rows := slices.DeleteFunc(blocks[owner], func(r row) bool {
			return given[optionName.FindStringSubmatch(r.names)[1]] != nil
		})
		checkDefaults(t, owner, rows, reflect.ValueOf(module).Elem())
		if h, ok := module.(*frappeauth.Handler); ok {
			checkDefaults(t, "cache", blocks["cache"], reflect.ValueOf(h.Cache).Elem())
		}
	}
}

func checkDefaults(t *testing.T, owner string, rows []row, module reflect.Value) {
	t.Helper()
	checked := 0
	for _, row := range rows {
		value := field(module, optionName.FindStringSubmatch(row.names)[1])
		if !value.IsValid() || row.byDefault == "required" {
			continue // an argument, a list of another name, or a block
		}
		checked++
		shown := strings.ReplaceAll(regexp.MustCompile(`^[^,:;.]*`).FindString(row.byDefault), "`", "")
		is := text(value)
		if shown == "the site's" && is == "none" {
			continue
		}
		if shown != is {
			t.Errorf("%s shows the default %q of %s, but it is %q", owner, shown, row.names, is)
		}
	}
	if checked == 0 && owner != "backend static" && owner != "frappe_auth_webhook" {
		t.Errorf("no default of %s is checked", owner)
	}
}

// TestLimits: the largest value on the page is accepted, and a larger one is not.
func TestLimits(t *testing.T) {
	const handler = "frappe_auth https://erp.example.com {\n"
	within := map[string]string{
		"frappe_auth":      handler + "%s\n}",
		"cache":            handler + "cache {\n%s\n}\n}",
		"backend site":     "frappe_auth {\nbackend site https://erp.example.com {\n%s\n}\n}",
		"backend database": "frappe_auth {\nbackend database /srv/erp {\n%s\n}\n}",
		"share redis":      handler + "share redis redis://x {\nsecret 0123456789abcdef0123456789abcdef\n%s\n}\n}",
	}
	limit := regexp.MustCompile("(?: to |at most )`?([0-9]+)(ms|s|m|h|d|)\\b")
	checked := 0
	for owner, rows := range documented(t) {
		for _, row := range rows {
			name := optionName.FindStringSubmatch(row.names)[1]
			largest := limit.FindStringSubmatch(row.meaning)
			if largest == nil || name == "failures" {
				continue
			}
			checked++
			n, err := strconv.Atoi(largest[1])
			if err != nil {
				t.Fatal(err)
			}
			for value, ok := range map[string]bool{strconv.Itoa(n) + largest[2]: true, strconv.Itoa(n+1) + largest[2]: false} {
				block := fmt.Sprintf(within[owner], name+" "+value)
				if _, _, err := testutil.Adapt("http://localhost {\n" + block + "\n}"); (err == nil) != ok {
					t.Errorf("%s: %s %s: %v", owner, name, value, err)
				}
			}
		}
	}
	if checked < 9 {
		t.Errorf("only %d limits are checked", checked)
	}
}

// field returns the field with that JSON name.
func field(module reflect.Value, name string) reflect.Value {
	for i := range module.NumField() {
		structField := module.Type().Field(i)
		tagged, _, _ := strings.Cut(structField.Tag.Get("json"), ",")
		if structField.Anonymous {
			if found := field(module.Field(i), name); found.IsValid() {
				return found
			}
		}
		if tagged == name {
			return module.Field(i)
		}
	}
	return reflect.Value{}
}

// text writes a value as the page shows it.
func text(value reflect.Value) string {
	switch v := value.Interface().(type) {
	case bool:
		return map[bool]string{false: "off", true: "on"}[v]
	case caddy.Duration:
		return duration(v)
	case *caddy.Duration:
		return duration(*v)
	case []frappe.Scheme:
		return strings.Trim(fmt.Sprint(v), "[]")
	case *frappeauth.FailureLimit:
		return fmt.Sprint(v.Max) + " " + duration(v.Window)
	case *frappeauth.CacheConfig:
		return "on"
	case json.RawMessage, *frappeauth.ProtectedResource:
		if value.IsNil() {
			return "none"
		}
	}
	if value.IsZero() {
		return "none"
	}
	return fmt.Sprint(value.Interface())
}

func duration(d caddy.Duration) string {
	if d == 0 {
		return "0"
	}
	return strings.TrimSuffix(time.Duration(d).String(), "0s")
}
