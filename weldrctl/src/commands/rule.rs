//! `rule add`, `rule set`, `rule move`, `rule remove`, `rule list`.

use weldr_proto::v1::{
    Conditions, CreateRuleRequest, DeleteRuleRequest, ListRulesRequest, ListRulesResponse,
    MoveRuleRequest, Route, Rule, UpdateRuleRequest,
};

use super::{
    Session,
    set::{ATTEMPTS, is_aborted},
};
use crate::{
    args::{RuleAddArgs, RuleCommand, RuleListArgs, RuleMoveArgs, RulePlaceArgs, RuleSetArgs},
    error::{CtlError, Exit},
    output::{self, json, routing},
    rules::clear,
};

pub(super) fn validate(command: &RuleCommand) -> Result<(), CtlError> {
    match command {
        RuleCommand::Set(args)
            if args.conditions.is_empty() && args.action.is_empty() && args.clear.is_empty() =>
        {
            Err(CtlError::Usage(
                "nothing to set: give a condition, an action or --clear".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

pub(super) async fn run(session: &Session, command: RuleCommand) -> Result<Exit, CtlError> {
    match command {
        RuleCommand::Add(args) => add(session, args).await,
        RuleCommand::Set(args) => set(session, args).await,
        RuleCommand::Move(args) => move_to(session, args).await,
        RuleCommand::Remove(args) => remove(session, args).await,
        RuleCommand::List(args) => list(session, args).await,
    }
}

async fn add(session: &Session, args: RuleAddArgs) -> Result<Exit, CtlError> {
    let request = CreateRuleRequest {
        listener: args.listener.clone(),
        priority: args.priority,
        conditions: Some(args.conditions.onto(Conditions::default())),
        route: Some(args.action.onto(Route::default())),
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let response = session.client.create_rule(request).await?;
    let rule = response.rule.unwrap_or_default();
    let revision = response.revision;
    let outcome = if response.created {
        "added"
    } else {
        "was already there, nothing changed"
    };
    written(session, &args.listener, &rule, revision, outcome)
}

async fn set(session: &Session, args: RuleSetArgs) -> Result<Exit, CtlError> {
    let mut attempts = 1;
    loop {
        let given = args.condition.expected_revision.is_some();
        match set_once(session, &args).await {
            Err(error) if !given && attempts < ATTEMPTS && is_aborted(&error) => attempts += 1,
            Err(error) => return Err(error),
            Ok((rule, revision)) => {
                return written(session, &args.listener, &rule, revision, "updated");
            }
        }
    }
}

/// Reads the rule and writes it with the changes, unless it has changed in between.
async fn set_once(session: &Session, args: &RuleSetArgs) -> Result<(Rule, u64), CtlError> {
    let rules = rules(session, &args.listener).await?;
    let mut present = rules.rules.into_iter();
    let present = present.find(|rule| rule.priority == args.priority);
    let Rule {
        conditions, route, ..
    } = present.unwrap_or_default();
    let (mut conditions, mut route) = (conditions.unwrap_or_default(), route.unwrap_or_default());
    for part in &args.clear {
        clear(*part, &mut conditions, &mut route);
    }
    let expected = args.condition.expected_revision.unwrap_or(rules.revision);
    let request = UpdateRuleRequest {
        listener: args.listener.clone(),
        priority: args.priority,
        conditions: Some(args.conditions.onto(conditions)),
        route: Some(args.action.onto(route)),
        expected_revision: expected,
    };
    let response = session.client.update_rule(request).await?;
    Ok((response.rule.unwrap_or_default(), response.revision))
}

async fn move_to(session: &Session, args: RuleMoveArgs) -> Result<Exit, CtlError> {
    let request = MoveRuleRequest {
        listener: args.listener.clone(),
        priority: args.priority,
        to_priority: args.to,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let response = session.client.move_rule(request).await?;
    let rule = response.rule.unwrap_or_default();
    let outcome = format!("moved from {}", args.priority);
    written(session, &args.listener, &rule, response.revision, &outcome)
}

async fn remove(session: &Session, args: RulePlaceArgs) -> Result<Exit, CtlError> {
    let RulePlaceArgs {
        listener, priority, ..
    } = args;
    let request = DeleteRuleRequest {
        listener: listener.clone(),
        priority,
        expected_revision: args.condition.expected_revision.unwrap_or_default(),
    };
    let revision = session.client.delete_rule(request).await?.revision;
    super::removed(
        session,
        &format!("rule {priority} of listener {listener}"),
        revision,
    )
}

async fn rules(session: &Session, listener: &str) -> Result<ListRulesResponse, CtlError> {
    let request = ListRulesRequest {
        listener: listener.to_owned(),
        stale: session.stale,
    };
    session.client.list_rules(request).await
}

async fn list(session: &Session, args: RuleListArgs) -> Result<Exit, CtlError> {
    let response = rules(session, &args.listener).await?;
    let output = &session.output;
    if output.is_json() {
        output.document(&response)?;
    } else {
        output.text(&routing::rules(&response.rules, output.paint()))?;
    }
    Ok(Exit::Done)
}

fn written(
    session: &Session,
    listener: &str,
    rule: &Rule,
    revision: u64,
    outcome: &str,
) -> Result<Exit, CtlError> {
    let output = &session.output;
    let priority = rule.priority;
    if output.is_json() {
        output.document(&json::Rule { revision, rule })?;
    } else {
        output.text(&format!(
            "rule {priority} of listener {listener} {outcome}: {}, revision {revision}\n",
            routing::sentence(rule)
        ))?;
    }
    if let Some(earlier) = rule.covered_by {
        output::complain(&format!(
            "rule {priority} never decides: rule {earlier} comes before it and matches every request that it matches"
        ));
    }
    if rule.prefix_never_applies {
        let changes = rule.route.as_ref().and_then(|route| route.changes.as_ref());
        let prefix = changes.and_then(|changes| changes.path_prefix.as_ref());
        output::complain(&format!(
            "rule {priority} never changes a path: no path that it matches begins with {}",
            prefix.map_or("", |change| &change.prefix)
        ));
    }
    Ok(Exit::Done)
}
