//! The calls about rules.

use weldr_proto::v1;

use crate::{
    management::{
        convert::{self, Violations},
        error::Error,
    },
    model::{
        Command, Coverage, DesiredState, Listener, ListenerName, Outcome, Priority, Rule, RuleSpec,
        covers,
    },
};

use super::{ApiCaller, Operations};

impl Operations {
    pub(in crate::management) async fn create_rule(
        &self,
        caller: ApiCaller,
        request: v1::CreateRuleRequest,
    ) -> Result<v1::CreateRuleResponse, Error> {
        let mut violations = Violations::default();
        let listener = violations.take(request.listener.parse::<ListenerName>());
        let priority = request.priority.map(Priority);
        if let Some(priority) = priority {
            violations.take(priority.validate());
        }
        let conditions = request.conditions.unwrap_or_default();
        let route = request.route.unwrap_or_default();
        let spec = convert::rule_spec(conditions, route, &mut violations);
        let (listener, spec) = violations.settle(listener.zip(spec))?;
        let command = Command::AddRule {
            listener: listener.clone(),
            priority,
            spec: Box::new(spec.clone()),
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        let state = self.context.cluster.current();
        let rules = &state.listener(&listener)?.rules;
        let added = match priority {
            Some(priority) => rules.get(&priority),
            None => rules.values().find(|rule| rule.spec == spec),
        };
        let added = added.ok_or(Error::Overtaken)?;
        Ok(v1::CreateRuleResponse {
            revision: applied.revision.0,
            rule: Some(shown(state.listener(&listener)?, added)),
            created: applied.outcome == Outcome::Created,
        })
    }

    pub(in crate::management) async fn update_rule(
        &self,
        caller: ApiCaller,
        request: v1::UpdateRuleRequest,
    ) -> Result<v1::UpdateRuleResponse, Error> {
        let mut violations = Violations::default();
        let listener: ListenerName = request.listener.parse()?;
        let priority = Priority(request.priority);
        let given = (request.conditions, request.route);
        // What is not given is read and written again, so the rule must not have changed in between.
        let is_complete = given.0.is_some() && given.1.is_some();
        let state = self.state(false).await?;
        let present = state.rule(&listener, priority)?;
        let asked = convert::expected_revision(request.expected_revision);
        let expected = asked.or((!is_complete).then_some(state.revision));
        let conditions = given.0;
        let conditions =
            conditions.unwrap_or_else(|| convert::proto_conditions(&present.spec.conditions));
        let route = given
            .1
            .unwrap_or_else(|| convert::proto_route(&present.spec.route));
        let spec: Option<RuleSpec> = convert::rule_spec(conditions, route, &mut violations);
        let command = Command::UpdateRule {
            listener: listener.clone(),
            priority,
            spec: Box::new(violations.settle(spec)?),
            expected,
        };
        let (applied, _) = self.write(caller, command).await?;
        Ok(v1::UpdateRuleResponse {
            revision: applied.revision.0,
            rule: Some(self.rule(&listener, priority)?),
        })
    }

    pub(in crate::management) async fn delete_rule(
        &self,
        caller: ApiCaller,
        request: v1::DeleteRuleRequest,
    ) -> Result<v1::DeleteRuleResponse, Error> {
        let command = Command::RemoveRule {
            listener: request.listener.parse()?,
            priority: Priority(request.priority),
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        Ok(v1::DeleteRuleResponse {
            revision: applied.revision.0,
        })
    }

    pub(in crate::management) async fn move_rule(
        &self,
        caller: ApiCaller,
        request: v1::MoveRuleRequest,
    ) -> Result<v1::MoveRuleResponse, Error> {
        let listener: ListenerName = request.listener.parse()?;
        let to = Priority(request.to_priority);
        let command = Command::MoveRule {
            listener: listener.clone(),
            from: Priority(request.priority),
            to,
            expected: convert::expected_revision(request.expected_revision),
        };
        let (applied, _) = self.write(caller, command).await?;
        Ok(v1::MoveRuleResponse {
            revision: applied.revision.0,
            rule: Some(self.rule(&listener, to)?),
        })
    }

    pub(in crate::management) async fn list_rules(
        &self,
        request: v1::ListRulesRequest,
    ) -> Result<v1::ListRulesResponse, Error> {
        let name: ListenerName = request.listener.parse()?;
        let state = self.state(request.stale).await?;
        let listener = state.listener(&name)?;
        let mut coverage = Coverage::default();
        let rules = listener.rules.values().map(|rule| {
            let covered_by = coverage.add(rule.priority, &rule.spec.conditions);
            convert::rule(rule, covered_by.map(|priority| priority.0))
        });
        Ok(v1::ListRulesResponse {
            revision: state.revision.0,
            rules: rules.collect(),
        })
    }

    /// A rule that was just written, unless another call has removed it since.
    fn rule(&self, name: &ListenerName, priority: Priority) -> Result<v1::Rule, Error> {
        let state: &DesiredState = &self.context.cluster.current();
        let listener = state.listeners.get(name).ok_or(Error::Overtaken)?;
        let rule = listener.rules.get(&priority).ok_or(Error::Overtaken)?;
        Ok(shown(listener, rule))
    }
}

/// A rule, with the first rule before it that covers it.
fn shown(listener: &Listener, rule: &Rule) -> v1::Rule {
    let mut earlier = listener.rules.range(..rule.priority);
    let covering =
        earlier.find(|(_, earlier)| covers(&earlier.spec.conditions, &rule.spec.conditions));
    convert::rule(rule, covering.map(|(priority, _)| priority.0))
}
