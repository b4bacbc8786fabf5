//! The rules of the desired state.

use std::sync::Arc;

use super::{DesiredState, expect_unchanged};
use crate::model::{
    Invalid, Listener, ListenerName, Outcome, Priority, Rejection, Revision, Rule, RuleId,
    RuleSpec, differences,
};

impl DesiredState {
    pub(super) fn add_rule(
        &mut self,
        listener_name: &ListenerName,
        priority: Option<Priority>,
        spec: RuleSpec,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let listener = self.listener(listener_name)?;
        expect_unchanged(expected, listener.rules_revision, || {
            format!("the set of rules of listener {listener_name}")
        })?;
        let priority = match priority {
            Some(priority) => match listener.rules.get(&priority) {
                Some(present) => {
                    let differences = differences(&present.spec, &spec);
                    if differences.is_empty() {
                        return Ok(Outcome::Unchanged);
                    }
                    return Err(Rejection::Present {
                        object: format!("rule {priority} of listener {listener_name}"),
                        differences,
                    });
                }
                None => priority,
            },
            None if listener.rules.values().any(|rule| rule.spec == spec) => {
                return Ok(Outcome::Unchanged);
            }
            None => after_last(listener),
        };
        self.expect_room_for_rule(listener_name, listener)?;
        if listener.rules.contains_key(&priority) {
            self.make_room_at_the_end(listener_name);
        }
        let rule = Rule {
            id: RuleId(self.new_id()),
            priority,
            spec,
            revision: self.revision.next(),
        };
        self.put_rule(listener_name, rule);
        Ok(Outcome::Created)
    }

    fn expect_room_for_rule(
        &self,
        name: &ListenerName,
        listener: &Listener,
    ) -> Result<(), Rejection> {
        if listener.rules.size() >= Listener::MOST_RULES {
            return Err(Rejection::Full {
                what: format!("rules of listener {name}"),
                limit: Listener::MOST_RULES,
            });
        }
        let sizes = self
            .listeners
            .values()
            .map(|listener| listener.rules.size());
        if sizes.sum::<usize>() >= Self::MOST_RULES {
            return Err(Rejection::Full {
                what: "rules of all listeners".to_owned(),
                limit: Self::MOST_RULES,
            });
        }
        Ok(())
    }

    /// Moves the last rules to the numbers before theirs, down to the last number that was free, so that the last number is
    /// free. There are fewer rules than numbers.
    fn make_room_at_the_end(&mut self, name: &ListenerName) {
        let Some(listener) = self.listeners.get(name) else {
            return;
        };
        let mut moved = Vec::new();
        let mut at = Priority::LAST;
        while let Some(rule) = listener.rules.get(&at) {
            moved.push(Arc::clone(rule));
            at = Priority(at.0 - 1);
        }
        let revision = self.revision.next();
        self.take_rule(name, Priority::LAST);
        for rule in moved {
            let priority = Priority(rule.priority.0 - 1);
            let rule = Rule {
                priority,
                revision,
                ..Rule::clone(&rule)
            };
            self.put_rule(name, rule);
        }
    }

    pub(super) fn update_rule(
        &mut self,
        listener: &ListenerName,
        priority: Priority,
        spec: RuleSpec,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let present = self.expect_rule_unchanged(listener, priority, expected)?;
        if present.spec == spec {
            return Ok(Outcome::Unchanged);
        }
        let rule = Rule {
            id: present.id,
            priority,
            spec,
            revision: self.revision.next(),
        };
        self.put_rule(listener, rule);
        Ok(Outcome::Changed)
    }

    pub(super) fn remove_rule(
        &mut self,
        listener: &ListenerName,
        priority: Priority,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        self.expect_rule_unchanged(listener, priority, expected)?;
        self.take_rule(listener, priority);
        Ok(Outcome::Removed)
    }

    /// Gives a rule another place. A rule that has that place moves to the next number, and so does each one after it, up
    /// to the first number that is free. So the order of all other rules stays as it was.
    pub(super) fn move_rule(
        &mut self,
        listener_name: &ListenerName,
        from: Priority,
        to: Priority,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let moved = Arc::clone(self.expect_rule_unchanged(listener_name, from, expected)?);
        if from == to {
            return Ok(Outcome::Unchanged);
        }
        let listener = self.listener(listener_name)?;
        let mut in_the_way = Vec::new();
        let mut next = to;
        while next != from
            && let Some(rule) = listener.rules.get(&next)
        {
            if next == Priority::LAST {
                let accepted = "a number after which one is free";
                return Err(Invalid::new("to_priority", to, accepted).into());
            }
            in_the_way.push(Arc::clone(rule));
            next = Priority(next.0 + 1);
        }
        self.take_rule(listener_name, from);
        let revision = self.revision.next();
        let new_places = in_the_way
            .iter()
            .map(|rule| (Priority(rule.priority.0 + 1), rule))
            .chain([(to, &moved)]);
        for (priority, rule) in new_places {
            let rule = Rule {
                priority,
                revision,
                ..Rule::clone(rule)
            };
            self.put_rule(listener_name, rule);
        }
        Ok(Outcome::Changed)
    }

    fn expect_rule_unchanged(
        &self,
        listener: &ListenerName,
        priority: Priority,
        expected: Option<Revision>,
    ) -> Result<&Arc<Rule>, Rejection> {
        let rule = self.rule(listener, priority)?;
        expect_unchanged(expected, rule.revision, || {
            format!("rule {priority} of listener {listener}")
        })?;
        Ok(rule)
    }

    pub(super) fn put_rule(&mut self, name: &ListenerName, rule: Rule) {
        self.last_id = self.last_id.max(rule.id.0);
        self.touched.rule(name, rule.priority);
        if let Some(listener) = self.listeners.get_mut(name) {
            let listener = Arc::make_mut(listener);
            listener.rules_revision = rule.revision;
            listener.rules.insert_mut(rule.priority, Arc::new(rule));
        }
    }

    pub(super) fn take_rule(&mut self, name: &ListenerName, priority: Priority) {
        self.touched.rule(name, priority);
        let revision = self.revision.next();
        if let Some(listener) = self.listeners.get_mut(name) {
            let listener = Arc::make_mut(listener);
            listener.rules_revision = revision;
            listener.rules.remove_mut(&priority);
        }
    }
}

/// The place of a rule that is added without a number. A rule that has the last number has to make room.
fn after_last(listener: &Listener) -> Priority {
    let last = listener.rules.last().map_or(0, |(last, _)| last.0);
    Priority((last + Priority::STEP).min(Priority::LAST.0))
}
