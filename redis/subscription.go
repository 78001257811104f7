package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/watchers"
)

const (
	// channel is where Frappe announces changed documents.
	channel = "events"

	// burst is how long changes are collected before they are reported. Frappe announces each twice.
	burst = 10 * time.Millisecond

	// manyOthers is how many announcements of other sites come before a warning that none is of the sites to hear.
	manyOthers = 100

	// maxPending is how many changes are collected. More drop every verdict.
	maxPending = 1000
)

// errConnectionLost ends a subscription. A new one begins with a connection of its own.
var errConnectionLost = errors.New("the connection was lost")

// subscription hears the messages of one Redis for everyone who watches it.
type subscription struct {
	address *address
	dials   int // so far; only run changes it
	sites   []string
	key     string // in subscriptions
	logger  atomic.Pointer[zap.Logger]
	end     context.CancelFunc
	done    chan struct{}

	watchers watchers.Watchers

	mu      sync.Mutex
	pending map[frappe.Change]bool
	ignored int  // malformed messages
	heard   bool // a message of one of the sites
	others  int  // messages of other sites before that
	missed  bool // messages may have been missed; only run writes it
}

func subscribe(a *address, sites []string, key string, logger *zap.Logger) *subscription {
	ctx, cancel := context.WithCancel(context.Background())
	s := &subscription{
		address: a,
		sites:   sites,
		key:     key,
		end:     cancel,
		done:    make(chan struct{}),
		pending: make(map[frappe.Change]bool),
	}
	s.logger.Store(logger)
	go s.run(ctx)
	return s
}

// Destruct ends the subscription.
func (s *subscription) Destruct() error {
	s.end()
	<-s.done
	return nil
}

// run keeps the subscription up.
func (s *subscription) run(ctx context.Context) {
	defer close(s.done)
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		var heard bool
		err := safely(func() (err error) { heard, err = s.listen(ctx); return err })
		if ctx.Err() != nil {
			return
		}
		if heard || !s.missed {
			s.logger.Load().Warn("cannot hear what changes in Frappe; until this works again, changes take up to ttl "+
				"to take effect",
				zap.Stringer("redis", s.address), zap.Error(s.address.public(err)))
		}
		if heard {
			wait = minWait
		}
		s.mu.Lock()
		s.missed = true
		s.mu.Unlock()
		pause(ctx, jitter(wait))
	}
}

// listen subscribes, and reports changes until the connection is lost. heard says whether it was subscribed.
func (s *subscription) listen(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := sentinels{address: s.address}
	defer asked.close()
	l, err := s.connect(ctx, &asked)
	if err != nil {
		return false, err
	}
	client := l.client
	defer client.Close()
	subscribed, ended := hear(ctx, client, s.take)
	timeout := time.NewTimer(silence)
	defer timeout.Stop()
	select {
	case <-subscribed:
	case err := <-ended:
		return false, err
	case <-timeout.C:
		return false, errors.New("the subscription was not confirmed")
	}
	defer s.watchers.See(false)
	s.announce()
	ticker := time.NewTicker(silence)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case err := <-ended:
			return true, err
		}
		pinging, stop := context.WithTimeout(ctx, silence)
		err := client.Do(pinging, client.B().Ping().Build()).Error()
		stop()
		if err != nil {
			return true, fmt.Errorf("no answer to a ping: %w", err)
		}
		if s.address.masterSet != "" {
			if to, err := asked.primary(ctx); err == nil && to != l.where {
				return true, errNewPrimary
			}
		}
		s.watchers.Report(nil)
	}
}

// hear subscribes, and passes each message on until ctx is done or the connection is lost.
func hear(
	ctx context.Context, client rueidis.Client, take func(message string),
) (subscribed <-chan struct{}, ended <-chan error) {
	confirmed, end := make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		hooked := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
			once.Do(func() { close(confirmed) })
		})
		err := safely(func() error {
			subscribe := client.B().Subscribe().Channel(channel).Build()
			return client.Receive(hooked, subscribe, func(m rueidis.PubSubMessage) { take(m.Message) })
		})
		if err == nil {
			err = errConnectionLost
		}
		end <- err
	}()
	return confirmed, end
}

// connect connects to the primary that the Sentinels name, or else to another server of the URL each time. The link is
// not replaced: a ping must not succeed on another connection than the one that is subscribed.
func (s *subscription) connect(ctx context.Context, asked *sentinels) (*link, error) {
	to := s.address.servers[s.dials%len(s.address.servers)]
	s.dials++
	if s.address.masterSet != "" {
		var err error
		if to, err = asked.primary(ctx); err != nil {
			return nil, err
		}
	}
	return s.address.connect(ctx, to, s.address.login(), feedLimits, true)
}

// announce reports that messages are heard from now on, and that everything may have changed if some were missed.
func (s *subscription) announce() {
	s.watchers.See(true)
	if !s.missed {
		s.watchers.Report(nil)
		return
	}
	s.logger.Load().Info("hearing what changes in Frappe again; dropping every cached verdict, because changes may "+
		"have been missed",
		zap.Stringer("redis", s.address))
	s.watchers.Report(s.everything())
}

// everything returns the changes that select every verdict of the sites.
func (s *subscription) everything() []frappe.Change {
	if len(s.sites) == 0 {
		return []frappe.Change{{Everything: true}}
	}
	changes := make([]frappe.Change, len(s.sites))
	for i, site := range s.sites {
		changes[i] = frappe.Change{Site: site, Everything: true}
	}
	return changes
}

// take collects the change that a message is about. The first one of a burst makes it be reported.
func (s *subscription) take(message string) {
	change, relevant, err := changeOf(message, s.sites)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.ignored++
		s.logger.Load().Debug("ignoring a message", zap.Error(err),
			zap.Int("ignored", s.ignored), zap.Stringer("redis", s.address))
		return
	}
	s.count(change.Site)
	if !relevant {
		return
	}
	if len(s.pending) == 0 {
		time.AfterFunc(burst, s.flush)
	}
	if len(s.pending) < maxPending {
		s.pending[change] = true
	} else {
		for _, all := range s.everything() {
			s.pending[all] = true
		}
	}
}

// count warns once if only other sites than those to hear announce something. Their name may be wrong.
func (s *subscription) count(site string) {
	switch {
	case s.heard || len(s.sites) == 0 || site == "":
		return
	case slices.Contains(s.sites, site):
		s.heard = true
		return
	}
	if s.others++; s.others == manyOthers {
		s.logger.Load().Warn("the sites of the feed announce nothing, but another one does; check the option site",
			zap.Strings("sites", s.sites), zap.String("other", site), zap.Stringer("redis", s.address))
	}
}

// flush reports what was collected. A message that arrives later is reported again.
func (s *subscription) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make([]frappe.Change, 0, len(s.pending))
	for change := range s.pending {
		changes = append(changes, change)
	}
	clear(s.pending)
	s.watchers.Report(changes)
}
