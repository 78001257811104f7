package frappeauth

import (
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
	type sortable struct {
		*state
		by string
	}
	var found []sortable
	states.Range(func(fingerprint, value any) bool {
		s := value.(*state)
		if name != "" && !s.serves(name) {
			return true
		}
		by := "\xff"
		for _, o := range handlersOf(s) {
			if o.Name != "" {
				by = o.Name
				break
			}
		}
		found = append(found, sortable{s, by + "\xff" + fingerprint.(string)})
		return true
	})
	slices.SortFunc(found, func(a, b sortable) int { return strings.Compare(a.by, b.by) })
	sorted := make([]*state, len(found))
	for i, s := range found {
		sorted[i] = s.state
	}
	return sorted
}
