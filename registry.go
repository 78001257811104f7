package frappeauth

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// handlers holds the options of every active handler and provider, keyed by their address, for the admin API.
var handlers = caddy.NewUsagePool()

// register makes the options visible to the admin API until unregister.
func (o *Options) register() { handlers.LoadOrStore(o, o) }

func (o *Options) unregister() error {
	_, err := handlers.Delete(o)
	return err
}

// handlersOf returns the handlers and providers that share a state, sorted by name.
func handlersOf(s *state) []*Options {
	var found []*Options
	handlers.Range(func(_, value any) bool {
		if o := value.(*Options); o.verifier.state == s {
			found = append(found, o)
		}
		return true
	})
	slices.SortStableFunc(found, func(a, b *Options) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// currentStates returns the states of all handlers, or only of those with that name. They are sorted by the names of
// their handlers, unnamed ones last. Unnamed ones keep their order until the configuration changes.
func currentStates(name string) []*state {
	keys := make(map[*state]string)
	states.Range(func(fingerprint, value any) bool {
		if s := value.(*state); name == "" || s.serves(name) {
			by := "\xff"
			for _, o := range slices.Backward(handlersOf(s)) {
				if o.Name != "" {
					by = o.Name
				}
			}
			keys[s] = by + "\xff" + fingerprint.(string)
		}
		return true
	})
	return slices.SortedFunc(maps.Keys(keys), func(a, b *state) int { return strings.Compare(keys[a], keys[b]) })
}
