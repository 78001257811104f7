// Package directive reads configuration: the blocks of Caddyfile directives, and common kinds of values, such as ports,
// durations and placeholders. All directives that use it report the same mistakes in the same way, with file and line.
package directive

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Option parses the option at the dispenser's position, including its block.
type Option func(d *caddyfile.Dispenser) error

// Block describes the options in the block of a directive or of another option.
type Block struct {
	// Owner is what the block belongs to, such as `frappe_auth` or `backend static`. Errors name it.
	Owner string

	// Options maps the name of each option to its parser.
	Options map[string]Option

	// Repeatable lists the options that may be given more than once. Any other option is an error the second time,
	// because only the last one would take effect.
	Repeatable []string

	// Instead maps names that are not options, but that users are likely to try, to advice such as `write handler
	// <name>`. The options of other blocks need no entry if these are registered.
	Instead map[string]string

	// Positions, if not nil, receives the position of each option, for errors that are found after the whole block was
	// read.
	Positions Positions

	// Check is called after each option, so that its error names the option's line. Nil means that nothing is checked.
	Check func() error
}

// registered holds the names of the options of the registered blocks, by owner.
var registered = make(map[string][]string)

// Register makes blocks known to all others, so that the error about an option in the wrong block says where it
// belongs. Call it from init functions only.
func Register(blocks ...Block) {
	for _, b := range blocks {
		registered[b.Owner] = slices.Sorted(maps.Keys(b.Options))
	}
}

// Registered returns the names of the options of the registered blocks, by owner.
func Registered() map[string][]string { return maps.Clone(registered) }

// Read parses the block that follows, if there is one. The arguments before it must have been consumed.
func (b Block) Read(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return b.unexpected(d)
	}
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		read, ok := b.Options[name]
		switch {
		case !ok:
			return b.unknown(d, name)
		case given[name] && !slices.Contains(b.Repeatable, name):
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		if b.Positions != nil {
			b.Positions.Add(name, d)
		}
		if err := read(d); err != nil {
			return err
		}
		if b.Check == nil {
			continue
		}
		if err := b.Check(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// unexpected returns an error about an argument that the owner of the block does not take.
func (b Block) unexpected(d *caddyfile.Dispenser) error {
	if strings.HasPrefix(d.Val(), "{") {
		return d.Errf("%s: unexpected %s; end the line with an opening brace and put each option on its own line", b.Owner,
			d.Val())
	}
	return d.Errf("%s: unexpected argument %s; options go into a block", b.Owner, d.Val())
}

// unknown returns the error for a name that is not an option.
func (b Block) unknown(d *caddyfile.Dispenser, name string) error {
	elsewhere := b.elsewhere()
	if advice, ok := elsewhere[name]; ok {
		return d.Errf("%s has no option %s; %s", b.Owner, name, advice)
	}
	options := slices.Sorted(maps.Keys(b.Options))
	if _, found := Nearest(name, options); !found {
		if nearest, found := Nearest(name, slices.Sorted(maps.Keys(elsewhere))); found {
			return d.Errf("%s has no option %s; if you mean %s, %s", b.Owner, name, nearest, elsewhere[nearest])
		}
	}
	return Unknown(d, b.Owner, name, options)
}

// elsewhere maps names that are not options here to what to do instead: the options of the registered blocks, and
// Instead.
func (b Block) elsewhere() map[string]string {
	owners := make(map[string][]string)
	for _, owner := range slices.Sorted(maps.Keys(registered)) {
		for _, name := range registered[owner] {
			owners[name] = append(owners[name], owner)
		}
	}
	advice := make(map[string]string)
	for name, all := range owners {
		advice[name] = "write it directly in the block of " + strings.Join(all, " or ")
	}
	maps.Copy(advice, b.Instead)
	return advice
}

// Unknown returns the error for a name that is not an option of an owner. It names the nearest option, or all of them.
func Unknown(d *caddyfile.Dispenser, owner, name string, options []string) error {
	if nearest, ok := Nearest(name, options); ok {
		return d.Errf("%s has no option %s; did you mean %s?", owner, name, nearest)
	}
	return d.Errf("%s has no option %s; it has %s", owner, name, strings.Join(options, ", "))
}

// Toggle parses an option that takes neither arguments nor a block.
func Toggle(into *bool) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("%s takes no argument; leave the line out to turn it off", name)
		}
		*into = true
		return NoBlock(d, name)
	}
}

// Text parses an option with one non-empty argument.
func Text(into *string) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if !d.NextArg() || d.Val() == "" {
			return d.Errf("%s needs a value", name)
		}
		*into = d.Val()
		if d.NextArg() {
			return d.Errf("%s takes one value; quote it if it contains spaces", name)
		}
		return NoBlock(d, name)
	}
}

// List parses an option with one or more arguments. without is the error if there are none.
func List[S ~string](into *[]S, without string) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		for *into = nil; d.NextArg(); {
			*into = append(*into, S(d.Val()))
		}
		if len(*into) == 0 {
			return d.Err(without)
		}
		if err := CheckSeparators(*into); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		return NoBlock(d, name)
	}
}

// CheckSeparators returns an error if arguments were separated by commas, which would be part of them.
func CheckSeparators[S ~string](arguments []S) error {
	for i, argument := range arguments {
		if text, found := strings.CutSuffix(string(argument), ","); found && (text == "" || i+1 < len(arguments)) {
			return fmt.Errorf("%q ends with a comma; separate by spaces, and quote what contains spaces", text+",")
		}
	}
	return nil
}

// Number parses an option with a positive whole number.
func Number(into *int) Option { return parsed(ParseNumber, into) }

// Duration parses an option with a duration that is not negative.
func Duration(into *caddy.Duration) Option { return parsed(ParseDuration, into) }

// parsed parses an option with one argument, using parse.
func parsed[T any](parse func(text string) (T, error), into *T) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var text string
		err := Text(&text)(d)
		if err != nil {
			return err
		}
		if *into, err = parse(text); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		return nil
	}
}

// PositiveDuration is like Duration, but rejects 0, which means the default in JSON.
func PositiveDuration(into *caddy.Duration) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if err := Duration(into)(d); err != nil {
			return err
		}
		if *into == 0 {
			return d.Errf("%s must not be 0; remove the line to use the default", name)
		}
		return nil
	}
}

// OptionalDuration is like Duration, but distinguishes 0 from an option that is missing.
func OptionalDuration(into **caddy.Duration) Option {
	return func(d *caddyfile.Dispenser) error {
		*into = new(caddy.Duration)
		return Duration(*into)(d)
	}
}

// NoBlock returns an error if a block follows the option of that name.
func NoBlock(d *caddyfile.Dispenser, name string) error {
	// NextBlock skips an empty block. The current token is then its closing brace, which would be quoted as an argument.
	if d.NextBlock(d.Nesting()) || d.ValRaw() == "}" {
		return d.Errf("%s takes no block", name)
	}
	return nil
}

// Positions holds the positions of the options of a block by name, in the order in which they were given.
type Positions map[string][]position

// Add records that an option is at the dispenser's position.
func (p Positions) Add(option string, d *caddyfile.Dispenser) {
	p[option] = append(p[option], position{d.File(), d.Line()})
}

// At adds the position of an option to an error. Of a repeatable option, it is the one with that index.
func (p Positions) At(option string, index int, err error) error {
	at := p[option][index]
	return fmt.Errorf("%w, at %s:%d", err, at.file, at.line)
}

type position struct {
	file string
	line int
}

// requirementKinds are the kinds of requirements, in the order in which errors name them.
var requirementKinds = []string{"role", "user", "scope", "client"}

// otherRequirements maps what users are likely to call a kind of requirement to the kind.
var otherRequirements = map[string]string{
	"group": "role", "groups": "role", "permission": "role", "role_profile": "role",
	"email": "user", "login": "user", "owner": "user", "username": "user", "valid-user": "user",
	"oauth_scope": "scope", "app": "client", "application": "client", "audience": "client", "aud": "client",
	"client_id": "client", "oauth_client": "client",
}

// Requirement parses a line `require` and adds it to a list.
func Requirement(list *[]frappe.Requirement) Option {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.Err("write require role, user, scope or client and its names")
		}
		kind, names := d.Val(), d.RemainingArgs()
		var required frappe.Requirement
		into, ok := map[string]*[]string{
			"role": &required.Roles, "user": &required.Users, "scope": &required.Scopes, "client": &required.Clients,
		}[kind]
		if !ok {
			return d.WrapErr(unknownRequirement(kind, names))
		}
		if len(names) == 0 {
			return d.Errf("require %s needs at least one name", kind)
		}
		if err := CheckSeparators(names); err != nil {
			return d.Errf("require %s: %w", kind, err)
		}
		*into = names
		*list = append(*list, required)
		return NoBlock(d, "require")
	}
}

// unknownRequirement returns the error for a kind of requirement that does not exist. Without a kind, the names are
// probably those of roles or users.
func unknownRequirement(kind string, names []string) error {
	lower := strings.ToLower(kind)
	instead, found := otherRequirements[lower]
	if !found {
		instead, found = Nearest(lower, requirementKinds)
	}
	line := strings.Join(append([]string{kind}, names...), " ")
	switch {
	case found:
		return fmt.Errorf("unknown requirement %s; did you mean %s?", kind, instead)
	case strings.Contains(kind, "@"):
		return fmt.Errorf("unknown requirement %s; write require user %s", kind, line)
	case kind != lower: // names of roles begin with a capital
		return fmt.Errorf("unknown requirement %s; write require role %q", kind, line)
	}
	return fmt.Errorf("unknown requirement %s; write require role, user, scope or client and its names", kind)
}

// Nearest returns the candidate that a misspelled name is probably meant to be, the first of equally similar ones.
// found is false if no candidate is similar enough.
func Nearest(name string, candidates []string) (nearest string, found bool) {
	name = strings.ToLower(name)
	best := min(3, (len(name)+1)/3) + 1
	for _, candidate := range candidates {
		if d := distance(name, candidate); d < best {
			nearest, best, found = candidate, d, true
		}
	}
	if found || len(name) < 4 {
		return nearest, found
	}
	for _, candidate := range candidates {
		if len(candidate) >= 4 && (strings.Contains(candidate, name) || strings.Contains(name, candidate)) {
			return candidate, true
		}
	}
	return "", false
}

// distance returns how many insertions, deletions, replacements and swaps of neighbors turn a into b (optimal string
// alignment).
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			replace := above[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
