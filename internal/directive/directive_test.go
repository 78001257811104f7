package directive_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	directive.Register(
		directive.Block{Owner: "small", Options: map[string]directive.Option{"size": nil, "text": nil}},
		directive.Block{Owner: "big", Options: map[string]directive.Option{"size": nil, "weight": nil, "advised": nil}},
	)
}

// TestBlock: the values that a block reads, and the error for each mistake, with its line.
func TestBlock(t *testing.T) {
	for _, test := range []struct {
		name, input string
		want        string // the values read, or the error
	}{
		{"everything", "d {\non\ntext \"a b\"\nnumber 7\nduration 2s\noptional 0s\nlist a\nlist b\n}", "true a b 7 2s 0s ab"},
		{"nothing", "d", "false  0 0s - "},
		{"empty block", "d {\n}", "false  0 0s - "},
		{"misspelled", "d {\nnumbr 1\n}", "d has no option numbr; did you mean number?, at file:2"},
		{"part of a name", "d {\noptional_time 1s\n}", "d has no option optional_time; did you mean optional?, at file:2"},
		{"another name", "d {\nfor x\n}", "d has no option for; write text <x>, at file:2"},
		{
			"another name, misspelled", "d {\nelswhere x\n}",
			"d has no option elswhere; if you mean elsewhere, write it elsewhere, at file:2",
		},
		{
			"option of other blocks", "d {\nsize 1\n}",
			"d has no option size; write it directly in the block of big or small, at file:2",
		},
		{
			"option of another block, misspelled", "d {\nweigt 1\n}",
			"d has no option weigt; if you mean weight, write it directly in the block of big, at file:2",
		},
		{"option of another block with an advice", "d {\nadvised 1\n}", "d has no option advised; write text <x>, at file:2"},
		{
			"unlike any", "d {\nxyz\n}",
			"d has no option xyz; it has duration, list, number, on, optional, positive, text, at file:2",
		},
		{"given twice", "d {\non\nnumber 1\non\n}", "on is given twice, at file:4"},
		{"argument of the block", "d off", "d: unexpected argument off; options go into a block, at file:1"},
		{
			"braces without spaces", "d {number 1}",
			"d: unexpected {number; end the line with an opening brace and put each option on its own line, at file:1",
		},
		{"toggle with an argument", "d {\non yes\n}", "on takes no argument; leave the line out to turn it off, at file:2"},
		{"toggle with a block", "d {\non {\nx\n}\n}", "on takes no block, at file:3"},
		{"text without a value", "d {\ntext\n}", "text needs a value, at file:2"},
		{"empty text", "d {\ntext \"\"\n}", "text needs a value, at file:2"},
		{"two words", "d {\ntext a b\n}", "text takes one value; quote it if it contains spaces, at file:2"},
		{"text with a block", "d {\ntext a {\nx\n}\n}", "text takes no block, at file:3"},
		{"text with an empty block", "d {\ntext a {\n}\non\n}", "text takes no block, at file:3"},
		{"text with an empty block on its line", "d {\ntext a { }\non\n}", "text takes no block, at file:2"},
		{"toggle with an empty block", "d {\non {\n}\n}", "on takes no block, at file:3"},
		{"quoted brace", "d {\ntext \"}\"\non\n}", "true } 0 0s - "},
		{"no number", "d {\nnumber many\n}", "number: many is not a positive whole number, at file:2"},
		{"zero", "d {\nnumber 0\n}", "number: 0 is not a positive whole number, at file:2"},
		{"no unit", "d {\nduration 60\n}", "duration: 60 is not a duration; write it as 30s, 5m or 1h, at file:2"},
		{
			"negative duration", "d {\noptional -1s\n}", "optional: -1s is not a duration; write it as 30s, 5m or 1h, at file:2",
		},
		{"positive duration", "d {\npositive 5s\n}", "false  0 5s - "},
		{"duration of 0", "d {\npositive 0\n}", "positive must not be 0; remove the line to use the default, at file:2"},
		{"unlucky number", "d {\non\nnumber 13\non\n}", "13 is unlucky, at file:3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tokens, err := caddyfile.Tokenize([]byte(test.input), "file")
			if err != nil {
				t.Fatal(err)
			}
			d := caddyfile.NewDispenser(tokens)
			d.Next()
			var (
				on       bool
				text     string
				number   int
				duration caddy.Duration
				optional *caddy.Duration
				list     string
			)
			err = directive.Block{
				Owner: "d",
				Options: map[string]directive.Option{
					"on": directive.Toggle(&on), "text": directive.Text(&text), "number": directive.Number(&number),
					"duration": directive.Duration(&duration), "optional": directive.OptionalDuration(&optional),
					"positive": directive.PositiveDuration(&duration),
					"list": func(d *caddyfile.Dispenser) error {
						var one string
						err := directive.Text(&one)(d)
						list += one
						return err
					},
				},
				Repeatable: []string{"list"},
				Instead: map[string]string{
					"for": "write text <x>", "elsewhere": "write it elsewhere", "advised": "write text <x>",
				},
				Check: func() error {
					if number == 13 {
						return errors.New("13 is unlucky")
					}
					return nil
				},
			}.Read(d)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = strings.Join([]string{
					caddy.ToString(on), text, caddy.ToString(number), time.Duration(duration).String(), shown(optional), list,
				}, " ")
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func shown(d *caddy.Duration) string {
	if d == nil {
		return "-"
	}
	return time.Duration(*d).String()
}

// TestPositions: an error that is found after the block was read still names the line of its option.
func TestPositions(t *testing.T) {
	tokens, err := caddyfile.Tokenize([]byte("d {\ntext a\nnumber 1\n\ntext b\n}"), "file")
	if err != nil {
		t.Fatal(err)
	}
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	positions := make(directive.Positions)
	block := directive.Block{
		Owner:      "d",
		Options:    map[string]directive.Option{"text": directive.Text(new(string)), "number": directive.Number(new(int))},
		Repeatable: []string{"text"},
		Positions:  positions,
	}
	if err := block.Read(d); err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	if err := positions.At("text", 1, wrong); err.Error() != "wrong, at file:5" || !errors.Is(err, wrong) {
		t.Error(err)
	}
	if err := positions.At("number", 0, wrong); err.Error() != "wrong, at file:3" {
		t.Error(err)
	}
}

func TestNearest(t *testing.T) {
	options := []string{"backend", "cache", "failures", "max_inflight", "require", "schemes", "ttl", "user_header"}
	for name, want := range map[string]string{
		"chache": "cache", "cahce": "cache", "backends": "backend", "scheme": "schemes", "max_in_flight": "max_inflight",
		"inflight": "max_inflight",
		"requires": "require", "failure": "failures", "tll": "ttl", "TTL": "ttl", "header": "user_header", "": "", "x": "",
		"log": "", "proxy": "", "handler": "",
	} {
		got, found := directive.Nearest(name, options)
		if got != want || found != (want != "") {
			t.Errorf("%q: %q %t, want %q", name, got, found, want)
		}
	}
}
