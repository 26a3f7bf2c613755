package apps

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"belfry/server/apps/source"
	"belfry/server/config"
	"belfry/server/refusals"
)

// accept has the registry know an app as its source has it, and reports whether it does.
func (d *finder) accept(ctx context.Context, l *lookup, document []byte) (known bool, err error) {
	if d.renew(l, document) {
		return true, nil
	}
	c, warnings, err := config.ParseApp(fmt.Sprintf("app with %s %q of apps_from", l.by, refusals.Clean(l.name)), document, d.Limits)
	if err == nil {
		err = d.verify(ctx, l, c)
	}
	if err == ErrAway {
		return false, err
	}
	if err != nil {
		d.reject(l, err)
		return false, ErrUnusable
	}
	moved := d.Changes.Begin()
	defer d.Changes.End()
	if moved {
		return false, ErrAway
	}
	known, evict := d.put(c, document, func() time.Time { return d.next(l) })
	if evict {
		d.Evict()
	}
	if known && len(warnings) > 0 {
		d.Log.Debug("settings of an app of apps_from", "app", c, "warnings", strings.Join(warnings, "; "))
	}
	return known, nil
}

// renew notes that the source has an app as it is known, and reports whether that is so: then
// nothing has to be read once more.
func (d *finder) renew(l *lookup, document []byte) bool {
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	a := r.byID.get(l.name)
	if l.by != source.ByID || a == nil || r.byKey.get(a.Settings().Key) != a {
		return false
	}
	known := a.lookedUp.Load()
	if known == nil || !bytes.Equal(known.document, document) {
		return false
	}
	known.due, known.problems = d.next(l), ""
	return true
}

// verify returns what is wrong with the names of an app that the source has answered with.
// Its key has to be nobody else's: one that is found by its id, and not known by its key, is
// asked for by that once more. The error may be ErrAway.
func (d *finder) verify(ctx context.Context, l *lookup, c config.App) error {
	if name := map[source.By]string{source.ByID: c.ID, source.ByKey: c.Key}[l.by]; name != l.name {
		return fmt.Errorf("asked for the app with %s %q, the source answers with app %q", l.by, refusals.Clean(l.name), refusals.Clean(c.ID))
	}
	if !source.Possible(c.ID) || !source.Possible(c.Key) {
		return fmt.Errorf("app %q: nobody can ask for its id or its key", refusals.Clean(c.ID))
	}
	if a := d.registry.byKey.get(c.Key); l.by == source.ByKey || a != nil && a.ID == c.ID {
		return nil
	}
	document, err := d.query(ctx, question{source.ByKey, c.Key})
	if err == nil {
		owner, _, err := config.ParseApp("apps_from", document, d.Limits)
		if err == nil && owner.ID == c.ID {
			return nil
		}
	}
	if err == ErrAway {
		return err
	}
	return fmt.Errorf("app %q: its key is not its own: give each app another", refusals.Clean(c.ID))
}

// adopt knows an app that was looked up by another process, and asks about it before long. It
// returns nil if its settings cannot be used here.
func (d *finder) adopt(document []byte) *App {
	c, _, err := config.ParseApp("apps_from", document, d.Limits)
	if err != nil {
		return nil
	}
	d.put(c, document, time.Now)
	return d.registry.byID.get(c.ID)
}

// reject tells of settings with mistakes in them, once if they are of an app that is known: it
// goes on as it is.
func (d *finder) reject(l *lookup, err error) {
	problems := strings.ReplaceAll(err.Error(), "\n", "; ")
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	if a := r.byID.get(l.name); l.by == source.ByID && a != nil && a.lookedUp.Load() != nil {
		a.lookedUp.Load().due = d.next(l)
		if a.lookedUp.Load().problems == problems {
			return
		}
		a.lookedUp.Load().problems = problems
	}
	d.Log.Error("an app of apps_from cannot be used", "problems", problems)
}

// put puts in force what the source has of an app. due says when to ask again; it is called
// under the lock that changed takes, so that no change is missed. evict says that the app has
// not been disabled before.
func (d *finder) put(c config.App, document []byte, due func() time.Time) (served, evict bool) {
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	a := r.byID.get(c.ID)
	if other := r.byKey.get(c.Key); a != nil && a.lookedUp.Load() == nil || other != nil && other != a && other.lookedUp.Load() == nil {
		d.Log.Warn("an app of apps_from has the id or the key of one in the configuration: that one is served", "app", c)
		return false, false
	}
	if a == nil {
		a = r.newApp(c)
		a.used.Store(true)
		a.lookedUp.Store(&lookedUp{document: document, due: due()})
		r.name(a, nil)
		d.Log.Debug("app looked up", "app", c)
		return true, false
	}
	known := a.lookedUp.Load()
	known.due, known.problems = due(), ""
	before := a.Settings()
	same := bytes.Equal(known.document, document) || reflect.DeepEqual(before.App, c)
	known.document = document
	if !same {
		a.set(c)
		d.Log.Info("app changed in apps_from", "app", c)
	}
	r.name(a, before)() // also if nothing has changed: another may have had its key meanwhile
	return true, before.Enabled && !a.Settings().Enabled
}
