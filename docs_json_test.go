package frappeauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestDocsJSON: the JSON reference is what the comments of the code say, and its examples are what the adapter makes of the
// Caddyfiles of README.md and docs/.
func TestDocsJSON(t *testing.T) {
	source := parseSource(t)
	var page strings.Builder
	for _, id := range []string{
		"http.handlers.frappe_auth", "http.handlers.frappe_auth_webhook", "http.authentication.providers.frappe",
		"http.frappe_auth.backends.site", "http.frappe_auth.backends.static", "http.frappe_auth.backends.database",
		"http.frappe_auth.stores.redis", "http.frappe_auth.feeds.frappe_events",
		"admin.api.frappe_auth",
	} {
		module, ok := source.modules[id]
		if !ok {
			t.Fatalf("no module %s in the code", id)
		}
		fmt.Fprintf(&page, "## `%s`\n\n%s\n\n", id, strings.TrimSpace(source.types[module].Doc))
		source.writeFields(&page, module, "")
		page.WriteString("\n")
	}
	page.WriteString("## Examples\n\nEach Caddyfile of the README and of these pages, as `caddy adapt` writes it, laid out to be read.\n\n")
	for _, e := range examples(t) {
		if strings.HasPrefix(e.title, "recipes-plugins: ") {
			continue // they need modules that are not here
		}
		config, _, err := adapt(e.text)
		if err != nil {
			t.Fatalf("%s: %v", e.title, err)
		}
		fmt.Fprintf(&page, "### %s\n\n```json\n%s\n```\n\n", strings.NewReplacer("<", "\\<", ">", "\\>").Replace(e.title), layout(t, config, ""))
	}
	generated(t, "json.md", page.String())
}

// layout writes JSON with what fits into a line on one line, and with no more indentation than it takes to read it.
func layout(t *testing.T, raw json.RawMessage, indent string) string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	begin, err := decoder.Token()
	if err != nil {
		t.Fatal(err)
	}
	delim, ok := begin.(json.Delim)
	if len(indent)*4+len(raw) <= 110 || !ok {
		return string(raw)
	}
	var names []string
	var elements []json.RawMessage
	for decoder.More() {
		name := ""
		if delim == '{' {
			key, err := decoder.Token()
			if err != nil {
				t.Fatal(err)
			}
			name = fmt.Sprintf("%q: ", key)
		}
		var element json.RawMessage
		if err := decoder.Decode(&element); err != nil {
			t.Fatal(err)
		}
		names, elements = append(names, name), append(elements, element)
	}
	end := map[json.Delim]string{'{': "}", '[': "]"}[delim]
	if len(elements) == 1 {
		return delim.String() + names[0] + layout(t, elements[0], indent) + end
	}
	lines := make([]string, len(elements))
	for i, element := range elements {
		lines[i] = "\n" + indent + "\t" + names[i] + layout(t, element, indent+"\t")
	}
	return delim.String() + strings.Join(lines, ",") + "\n" + indent + end
}

// source is what the comments of all packages of the module say.
type source struct {
	types   map[typeName]*doc.Type
	modules map[string]typeName // by the id of the Caddy module
}

// typeName is a type and the last element of its package's path; of the root it is empty.
type typeName struct{ pkg, name string }

func parseSource(t *testing.T) source {
	t.Helper()
	s := source{types: make(map[typeName]*doc.Type), modules: make(map[string]typeName)}
	set := token.NewFileSet()
	files := make(map[string][]*ast.File) // by directory
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || path == "benchmark" || len(path) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		files[filepath.Dir(path)] = append(files[filepath.Dir(path)], file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, parsed := range files {
		pkg := strings.TrimPrefix(filepath.Base(dir), ".")
		for _, file := range parsed {
			s.findModules(file, pkg)
		}
		documented, err := doc.NewFromFiles(set, parsed, "github.com/caddy-frappe/frappe-auth/"+dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range documented.Types {
			s.types[typeName{pkg, found.Name}] = found
		}
	}
	return s
}

// findModules finds the types of a file that have a method CaddyModule, and the id that it returns.
func (s source) findModules(file *ast.File, pkg string) {
	for _, declaration := range file.Decls {
		method, ok := declaration.(*ast.FuncDecl)
		if !ok || method.Name.Name != "CaddyModule" || method.Recv == nil {
			continue
		}
		receiver := strings.TrimPrefix(typeText(method.Recv.List[0].Type), "*")
		ast.Inspect(method, func(node ast.Node) bool {
			if pair, ok := node.(*ast.KeyValueExpr); ok && typeText(pair.Key) == "ID" {
				if id, ok := pair.Value.(*ast.BasicLit); ok {
					s.modules[strings.Trim(id.Value, `"`)] = typeName{pkg, receiver}
				}
			}
			return true
		})
	}
}

// resolve finds the type that an expression in a package names, below pointers and lists.
func (s source) resolve(pkg string, e ast.Expr) (typeName, bool) {
	name := typeName{pkg, strings.TrimLeft(typeText(e), "*[]")}
	if qualifier, local, ok := strings.Cut(name.name, "."); ok {
		name = typeName{qualifier, local}
		if qualifier == "frappeauth" {
			name.pkg = ""
		}
	}
	_, ok := s.types[name]
	return name, ok
}

// structure is the type of that name, if it is a structure.
func (s source) structure(name typeName) (*ast.StructType, bool) {
	structure, ok := s.types[name].Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	return structure, ok
}

// writeFields writes a list of the fields of a structure as JSON names them, with those of structures within below.
func (s source) writeFields(page *strings.Builder, name typeName, indent string) {
	structure, ok := s.structure(name)
	if !ok {
		return
	}
	for _, field := range structure.Fields.List {
		inner, known := s.resolve(name.pkg, field.Type)
		if len(field.Names) == 0 {
			if known {
				s.writeFields(page, inner, indent)
			}
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
		if !known {
			continue
		}
		if _, ok := s.structure(inner); ok {
			fmt.Fprintf(page, "\n%s  %s\n\n", indent, strings.ReplaceAll(strings.TrimSpace(s.types[inner].Doc), "\n", "\n"+indent+"  "))
			s.writeFields(page, inner, indent+"  ")
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
	case "string", "Scheme", "frappe.Scheme":
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
