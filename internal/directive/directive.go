// Package directive reads the blocks of Caddyfile directives, so that all of them report the same mistakes alike, with file
// and line.
package directive

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Option reads the option at which the dispenser stands, its block included.
type Option func(d *caddyfile.Dispenser) error

// Block says what may stand in the block of a directive or of an option.
type Block struct {
	// Owner is what the block belongs to, as errors name it, such as `frappe_auth` or `backend static`.
	Owner string

	// Options reads each option by its name.
	Options map[string]Option

	// Repeatable are the options that may be given more than once. Any other is an error the second time, since only the
	// last one would count.
	Repeatable []string

	// Instead says what to write for names that are not options but are likely to be tried, such as `write handler <name>`.
	Instead map[string]string

	// Check runs after each option, so that its error names the option's line. Nil: nothing is checked.
	Check func() error
}

// Read reads the block that follows, if there is one. The arguments before it have been read.
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

// unexpected rejects an argument after those that the owner of the block takes.
func (b Block) unexpected(d *caddyfile.Dispenser) error {
	if strings.HasPrefix(d.Val(), "{") {
		return d.Errf("%s: unexpected %s; end the line with an opening brace and put each option on a line of its own", b.Owner, d.Val())
	}
	return d.Errf("%s: unexpected argument %s; options go into a block", b.Owner, d.Val())
}

// unknown rejects an option that there is not, and names the one that was probably meant.
func (b Block) unknown(d *caddyfile.Dispenser, name string) error {
	names := slices.Sorted(maps.Keys(b.Options))
	if instead, ok := b.Instead[name]; ok {
		return d.Errf("%s has no option %s; %s", b.Owner, name, instead)
	}
	if nearest, ok := Nearest(name, names); ok {
		return d.Errf("%s has no option %s; did you mean %s?", b.Owner, name, nearest)
	}
	return d.Errf("%s has no option %s; it has %s", b.Owner, name, strings.Join(names, ", "))
}

// Toggle is an option that takes neither arguments nor a block.
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

// Text is an option with one argument, which is not empty.
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

// Number is an option with a positive whole number.
func Number(into *int) Option {
	return func(d *caddyfile.Dispenser) error {
		var text string
		if err := Text(&text)(d); err != nil {
			return err
		}
		return ParseNumber(d, text, into)
	}
}

// Duration is an option with a duration, which is not negative.
func Duration(into *caddy.Duration) Option {
	return func(d *caddyfile.Dispenser) error {
		var text string
		if err := Text(&text)(d); err != nil {
			return err
		}
		return ParseDuration(d, text, into)
	}
}

// OptionalDuration is a Duration for which 0 differs from not being given.
func OptionalDuration(into **caddy.Duration) Option {
	return func(d *caddyfile.Dispenser) error {
		*into = new(caddy.Duration)
		return Duration(*into)(d)
	}
}

// NoBlock rejects a block after the option of that name.
func NoBlock(d *caddyfile.Dispenser, name string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", name)
	}
	return nil
}

// ParseNumber reads an argument that is a positive whole number.
func ParseNumber(d *caddyfile.Dispenser, text string, into *int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return d.Errf("%s is not a positive whole number", text)
	}
	*into = n
	return nil
}

// ParseDuration reads an argument that is a duration, which is not negative.
func ParseDuration(d *caddyfile.Dispenser, text string, into *caddy.Duration) error {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed < 0 {
		return d.Errf("%s is not a duration; write it as 30s, 5m or 1h", text)
	}
	*into = caddy.Duration(parsed)
	return nil
}

// Here remembers where the dispenser stands, for errors that only show when more has been read.
func Here(d *caddyfile.Dispenser) func(error) error {
	file, line := d.File(), d.Line()
	return func(err error) error { return fmt.Errorf("%w, at %s:%d", err, file, line) }
}
