package routes

import (
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// set is a matcher set: a request must meet all of its matchers.
type set map[string]any

// condition is met by a request that meets at least one of the sets. An empty condition is met by every request.
type condition struct {
	sets []set

	// implied is set if the condition follows from the routes before it, so that it need not be shown.
	implied bool
}

// conditionOf returns the condition of `match` in the JSON of a route or of a frappe_auth. rewrites is how often the
// path was rewritten on the way there. Conditions on paths before and after a rewrite cannot be compared.
func conditionOf(match any, rewrites int) (c condition) {
	list, _ := match.([]any)
	for _, element := range list {
		if matchers, _ := element.(map[string]any); len(matchers) > 0 {
			c.sets = append(c.sets, set(matchers).after(rewrites))
		} else {
			return condition{} // an empty set matches every request
		}
	}
	return c
}

// rewritten separates the name of a matcher of paths from the number of rewrites.
const rewritten = "#"

func (s set) after(rewrites int) set {
	if rewrites == 0 {
		return s
	}
	renamed := make(set, len(s))
	for name, value := range s {
		switch {
		case name == "not":
			var sets []any
			for _, inner := range setsOf(value) {
				sets = append(sets, map[string]any(inner.after(rewrites)))
			}
			value = sets
		case strings.HasPrefix(name, "path"):
			name += rewritten + strconv.Itoa(rewrites)
		}
		renamed[name] = value
	}
	return renamed
}

// setsOf returns the matcher sets in a JSON array, such as that of the matcher `not`.
func setsOf(value any) (sets []set) {
	list, _ := value.([]any)
	for _, element := range list {
		if matchers, ok := element.(map[string]any); ok {
			sets = append(sets, matchers)
		}
	}
	return sets
}

// unless returns the condition of requests that do not meet c. ok is false if every request meets c.
func (c condition) unless() (negated condition, ok bool) {
	if len(c.sets) == 0 {
		return condition{}, false
	}
	sets := make([]any, len(c.sets))
	for i, s := range c.sets {
		sets[i] = map[string]any(s)
	}
	return condition{sets: []set{{"not": sets}}, implied: true}, true
}

// and returns the condition of requests that meet both. ok is false if that is no condition.
func (c condition) and(other condition) (both condition, ok bool) {
	switch {
	case way{c}.meets(other):
		return c, true
	case way{other}.meets(c):
		return other, true
	case len(c.sets) != 1 || len(other.sets) != 1:
		return condition{}, false
	}
	merged := maps.Clone(c.sets[0])
	for name, value := range other.sets[0] {
		if _, taken := merged[name]; taken {
			return condition{}, false
		}
		merged[name] = value
	}
	return condition{sets: []set{merged}}, true
}

// hostsOnly reports whether the condition is about the host only, as that of a site.
func (c condition) hostsOnly() bool {
	return !slices.ContainsFunc(c.sets, func(s set) bool { return len(s) != 1 || s["host"] == nil })
}

// String describes the condition.
func (c condition) String() string {
	var all []string
	for _, s := range c.sets {
		if text := s.String(); text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, " or ")
}

// String describes the matchers, except those of hosts, which name the site. It shows no value that may be a secret.
func (s set) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		plain, _, _ := strings.Cut(name, rewritten)
		value := s[name]
		switch plain {
		case "host":
		case "path":
			all = append(all, strings.Join(texts(value), " "))
		case "not":
			for _, inner := range setsOf(value) {
				all = append(all, "not "+inner.String())
			}
		case "file":
			all = append(all, "file exists")
		case "method":
			all = append(all, strings.Join(texts(value), " "))
		case "header", "header_regexp", "query", "vars", "vars_regexp": // a value may be a secret
			fields, _ := value.(map[string]any)
			all = append(all, plain+" "+strings.Join(slices.Sorted(maps.Keys(fields)), " "))
		default:
			all = append(all, plain)
		}
	}
	return strings.Join(all, ", ")
}

// truncated limits what is shown of a configuration.
func truncated(text string) string {
	const most = 60
	if letters := []rune(text); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return text
}

// way is what a request met to get somewhere: all of these conditions.
type way []condition

// meets reports whether every request that came this way meets c.
func (w way) meets(c condition) bool {
	if len(c.sets) == 0 {
		return true
	}
	if slices.ContainsFunc(c.sets, w.meetsAll) {
		return true
	}
	return slices.ContainsFunc(w, func(passed condition) bool {
		return len(passed.sets) > 0 && !slices.ContainsFunc(passed.sets, func(s set) bool {
			return !slices.ContainsFunc(c.sets, way{{sets: []set{s}}}.meetsAll)
		})
	})
}

// meetsAll reports whether every request that came this way meets all matchers of a set.
func (w way) meetsAll(wanted set) bool {
	for name, value := range wanted {
		if !slices.ContainsFunc(w, func(passed condition) bool {
			return len(passed.sets) > 0 &&
				!slices.ContainsFunc(passed.sets, func(s set) bool { return !s.implies(name, value) })
		}) {
			return false
		}
	}
	return true
}

// implies reports whether a request that meets the set meets another matcher.
func (s set) implies(name string, value any) bool {
	if own, ok := s[name]; ok && reflect.DeepEqual(own, value) {
		return true
	}
	kind, _, _ := strings.Cut(name, rewritten)
	switch kind {
	case "path", "host":
		own := texts(s[name])
		return len(own) > 0 && !slices.ContainsFunc(own, func(narrow string) bool {
			return !slices.ContainsFunc(texts(value), func(wide string) bool { return covers(wide, narrow) })
		})
	case "not":
		inner := setsOf(value)
		return !slices.ContainsFunc(inner, func(n set) bool { return !s.excludes(n) })
	}
	return false
}

// excludes reports whether no request can meet both sets.
func (s set) excludes(other set) bool {
	for name, value := range other {
		kind, _, _ := strings.Cut(name, rewritten)
		own := texts(s[name])
		if (kind != "path" && kind != "host") || len(own) == 0 {
			continue
		}
		if !slices.ContainsFunc(own, func(a string) bool {
			return slices.ContainsFunc(texts(value), func(b string) bool { return !apart(a, b) })
		}) {
			return true
		}
	}
	return s.negates(other) || other.negates(s)
}

// negates reports whether the set has a `not` that every request meets that meets the other set.
func (s set) negates(other set) bool {
	return slices.ContainsFunc(setsOf(s["not"]), way{{sets: []set{other}}}.meetsAll)
}

// excludes reports whether no request that came this way meets c.
func (w way) excludes(c condition) bool {
	return len(c.sets) > 0 && slices.ContainsFunc(w, func(passed condition) bool {
		return len(passed.sets) > 0 && !slices.ContainsFunc(passed.sets, func(s set) bool {
			return slices.ContainsFunc(c.sets, func(other set) bool { return !s.excludes(other) })
		})
	})
}

// covers reports whether everything that matches one pattern of a path or host matches another one.
func covers(wide, narrow string) bool {
	wide, narrow = strings.ToLower(wide), strings.ToLower(narrow)
	prefix, open := prefixOf(wide)
	return wide == narrow || wide == "*" || open && strings.HasPrefix(narrow, prefix)
}

// apart reports whether nothing matches both patterns. It is false if that is unknown.
func apart(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	prefixA, openA := prefixOf(a)
	prefixB, openB := prefixOf(b)
	if !openA && strings.ContainsAny(a, "*?[{") || !openB && strings.ContainsAny(b, "*?[{") {
		return false
	}
	switch {
	case openA && openB:
		return !strings.HasPrefix(prefixA, prefixB) && !strings.HasPrefix(prefixB, prefixA)
	case openA:
		return !strings.HasPrefix(b, prefixA)
	case openB:
		return !strings.HasPrefix(a, prefixB)
	}
	return a != b
}

// prefixOf returns the beginning of everything that matches a pattern. open is false unless the pattern is a text
// followed by `*`.
func prefixOf(pattern string) (prefix string, open bool) {
	prefix, open = strings.CutSuffix(pattern, "*")
	return prefix, open && !strings.ContainsAny(prefix, "*?[{")
}

// reaches reports whether a request for a path may come this way.
func (w way) reaches(target string) bool {
	return !slices.ContainsFunc(w, func(c condition) bool {
		return len(c.sets) > 0 && !slices.ContainsFunc(c.sets, func(s set) bool { return s.mayMatch(target) })
	})
}

// mayMatch reports whether a request for a path may meet the set.
func (s set) mayMatch(target string) bool {
	if patterns, ok := s["path"]; ok && !matchesPath(texts(patterns), target) {
		return false
	}
	return !slices.ContainsFunc(setsOf(s["not"]), func(inner set) bool {
		patterns, ok := inner["path"]
		return ok && len(inner) == 1 && matchesPath(texts(patterns), target)
	})
}

// matchesPath matches a path as Caddy does. A pattern with a placeholder may match.
func matchesPath(patterns []string, target string) bool {
	target = strings.ToLower(target)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		pattern = strings.ToLower(pattern)
		inner, begins := strings.CutPrefix(pattern, "*")
		inner, ends := strings.CutSuffix(inner, "*")
		switch {
		case strings.Contains(pattern, "{"), pattern == "*":
			return true
		case strings.ContainsAny(inner, "*?["):
			matched, err := path.Match(pattern, target)
			return matched && err == nil
		case begins && ends:
			return strings.Contains(target, inner)
		case begins:
			return strings.HasSuffix(target, inner)
		case ends:
			return strings.HasPrefix(target, inner)
		}
		return pattern == target
	})
}

// describe describes the requests that came a way, besides their site, by the conditions that are not implied. Every
// request is `/*`.
func (w way) describe() string {
	var all []string
	for _, c := range w {
		if text := c.String(); text != "" && !c.implied && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		return "/*"
	}
	return strings.Join(all, ", ")
}
