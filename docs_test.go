package frappeauth_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update-docs", false, "write the generated parts of docs/")

// generated compares the part of a page between its markers with what the code says, or writes it.
func generated(t *testing.T, page, part string) {
	t.Helper()
	const begin, end = "<!-- generated: go test -run Docs . -update-docs -->\n", "<!-- end of what is generated -->\n"
	file := filepath.Join("docs", page)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(raw), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no markers", file)
	}
	part = "\n" + strings.TrimSpace(part) + "\n\n"
	if *updateDocs {
		if err := os.WriteFile(file, []byte(before+begin+part+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was != part {
		t.Errorf("%s is not current: go test -run Docs . -update-docs", file)
	}
}

// TestDocsJSON: the JSON reference is what the comments of the code say.
func TestDocsJSON(t *testing.T) {
	root := documented(t, ".")
	var page strings.Builder
	for _, module := range []struct {
		id, name string
		types    map[string]*doc.Type
	}{
		{"http.handlers.frappe_auth", "Handler", root},
		{"http.handlers.frappe_auth_webhook", "Webhook", root},
		{"http.authentication.providers.frappe", "Provider", root},
		{"http.frappe_auth.backends.site", "Backend", documented(t, "site")},
		{"http.frappe_auth.backends.static", "Backend", documented(t, "static")},
		{"http.frappe_auth.backends.database", "Backend", documented(t, "database")},
		{"admin.api.frappe_auth", "AdminAPI", root},
	} {
		fmt.Fprintf(&page, "## `%s`\n\n%s\n\n", module.id, strings.TrimSpace(module.types[module.name].Doc))
		writeFields(&page, module.types, module.name, "")
		page.WriteString("\n")
	}
	generated(t, "json.md", page.String())
}

// documented are the types of a package with their comments.
func documented(t *testing.T, dir string) map[string]*doc.Type {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, "github.com/caddy-frappe/frappe-auth")
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]*doc.Type)
	for _, found := range pkg.Types {
		types[found.Name] = found
	}
	return types
}

// writeFields writes a list of the fields of a structure as JSON names them, with those of structures within below.
func writeFields(page *strings.Builder, types map[string]*doc.Type, name, indent string) {
	structure, ok := types[name].Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range structure.Fields.List {
		kind := strings.TrimLeft(typeText(field.Type), "*[]")
		if len(field.Names) == 0 {
			writeFields(page, types, kind, indent)
			continue
		}
		if field.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
		jsonName, _, _ := strings.Cut(tag.Get("json"), ",")
		if jsonName == "" || jsonName == "-" {
			continue
		}
		shown := jsonType(field.Type)
		if namespace := regexp.MustCompile(`namespace=(\S+)`).FindStringSubmatch(tag.Get("caddy")); namespace != nil {
			shown = strings.Replace(shown, "module", "module of `"+namespace[1]+"`", 1)
		}
		text := strings.ReplaceAll(strings.TrimSpace(field.Doc.Text()), "\n", " ")
		fmt.Fprintf(page, "%s- **`%s`** (%s): %s\n", indent, jsonName, shown, text)
		if inner, ok := types[kind]; ok {
			if _, ok := inner.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType); ok {
				fmt.Fprintf(page, "\n%s  %s\n\n", indent, strings.ReplaceAll(strings.TrimSpace(inner.Doc), "\n", "\n"+indent+"  "))
				writeFields(page, types, kind, indent+"  ")
			}
		}
	}
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return "*" + typeText(e.X)
	case *ast.ArrayType:
		return "[]" + typeText(e.Elt)
	case *ast.SelectorExpr:
		return typeText(e.X) + "." + e.Sel.Name
	}
	return fmt.Sprintf("%T", e)
}

// jsonType is what is written in JSON for a field.
func jsonType(e ast.Expr) string {
	switch text := strings.TrimPrefix(typeText(e), "*"); text {
	case "string", "frappe.Scheme":
		return "string"
	case "bool":
		return "boolean"
	case "int":
		return "number"
	case "caddy.Duration":
		return "duration: a string such as `1m30s`, or nanoseconds"
	case "caddyhttp.RawMatcherSets":
		return "list of objects, each a set of matchers by name: module"
	case "json.RawMessage":
		return "module"
	default:
		if inner, ok := strings.CutPrefix(text, "[]"); ok {
			return "list: " + jsonType(ast.NewIdent(inner))
		}
		return "object"
	}
}

// TestDocsCompatibility: the table of what Frappe and frappe_auth answer is what was recorded, and what a running Caddy
// answers in front of a recorded site.
func TestDocsCompatibility(t *testing.T) {
	versions := []string{"14.81.4 on MariaDB", onMariaDB, onPostgreSQL, "16.0.0-dev on MariaDB"}
	site := newRecordedSite(t, onMariaDB)
	address := freeAddress(t)
	runCaddy(t, corpusCaddyfile(address, "backend site "+site.URL))

	var table strings.Builder
	fmt.Fprintf(&table, "| request | %s | `frappe_auth`, asking %s |\n|---|%s---|\n", strings.Join(versions, " | "), onMariaDB, strings.Repeat("---|", len(versions)))
	for _, c := range corpus(t) {
		fmt.Fprintf(&table, "| %s ", strings.ReplaceAll(c.Name, "|", "\\|"))
		for _, version := range versions {
			answer := fmt.Sprint(c.Frappe[version].Status)
			if user := c.Frappe[version].User; user != nil {
				answer += " " + *user
			}
			fmt.Fprintf(&table, "| %s ", answer)
		}
		var headers []string
		for _, value := range c.Authorization {
			headers = append(headers, "Authorization: "+value)
		}
		for name, value := range c.Headers {
			headers = append(headers, name+": "+value)
		}
		client := clientWithoutMagic
		if slices.ContainsFunc(c.Authorization, func(value string) bool { return strings.TrimSpace(value) != value }) {
			client = h2cClient() // where white space at the end arrives
		}
		got := requestOver(t, client, http.MethodGet, "http://"+address, headers...)
		answer := fmt.Sprint(got.status)
		if got.status == http.StatusOK {
			answer += " " + got.body
		}
		fmt.Fprintf(&table, "| %s |\n", answer)
	}
	generated(t, "compatibility.md", table.String())
}

// TestDocsSecurity: every test that the threat table names is there.
func TestDocsSecurity(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(raw)
		}
	}
	named := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 20 {
		t.Errorf("the page names only %d tests", len(named))
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// TestDocsLinks: no page links to a page, or to a part of one, that is not there.
func TestDocsLinks(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := func(page string) map[string]bool {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{"": true}
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(raw), -1) {
			kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
			all[strings.ReplaceAll(kept, " ", "-")] = true
		}
		return all
	}
	links := 0
	for _, page := range append(pages, "README.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(link[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if info, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, link[1], err)
			} else if !info.IsDir() && strings.HasSuffix(target, ".md") && !anchors(target)[anchor] {
				t.Errorf("%s links to %s, where there is no such part", page, link[1])
			}
		}
	}
	if links < 5 {
		t.Errorf("only %d links", links)
	}
}
