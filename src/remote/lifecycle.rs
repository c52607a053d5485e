//! What a bucket does by itself as its objects, and uploads that nobody has finished, grow old.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, LifecycleRuleFilter};

use super::client::Bucket;
use super::error::RemoteError;
use super::operation::Operation;

/// What the rules that are in force do to objects whose keys begin with a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// How many rules there are, in force or not.
    pub rules: usize,
    /// After how many days an upload in parts that nobody has finished is thrown away, by the rule that is soonest.
    pub aborts_after: Option<i32>,
    /// A rule deletes objects by their age, which the catalog does not hear of.
    pub expires_objects: bool,
}

impl Bucket {
    /// Asks for it.
    ///
    /// # Errors
    /// If the store can't be asked, refuses to say, or does not know of lifecycles.
    pub async fn lifecycle(&self, prefix: &str) -> Result<Lifecycle, RemoteError> {
        let answer = self.sdk().get_bucket_lifecycle_configuration().bucket(self.name()).send().await;
        match answer {
            Ok(answer) => Ok(of_rules(answer.rules(), prefix)),
            // How S3 says that there is none.
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(Lifecycle::default()),
            Err(error) => Err(self.failed(Operation::GetBucketLifecycleConfiguration, None, error)),
        }
    }
}

fn of_rules(rules: &[LifecycleRule], prefix: &str) -> Lifecycle {
    let in_force = |rule: &&LifecycleRule| *rule.status() == ExpirationStatus::Enabled;
    let mut lifecycle = Lifecycle { rules: rules.len(), ..Lifecycle::default() };
    for rule in rules.iter().filter(in_force) {
        let of_rule = prefix_of(rule);
        // Uploads have no tags and no size, so a rule that asks for them means objects only.
        if of_rule.is_some_and(|of_rule| prefix.starts_with(of_rule)) {
            let days = rule.abort_incomplete_multipart_upload().and_then(|abort| abort.days_after_initiation());
            lifecycle.aborts_after = lifecycle.aborts_after.into_iter().chain(days).min();
        }
        let touches = of_rule.is_none_or(|of_rule| prefix.starts_with(of_rule) || of_rule.starts_with(prefix));
        // A marker without versions is no object.
        let by_age =
            rule.expiration().is_some_and(|expiration| expiration.days().is_some() || expiration.date().is_some());
        lifecycle.expires_objects |= touches && by_age;
    }
    lifecycle
}

/// What the keys begin with that a rule is about; none if it asks for more than that.
fn prefix_of(rule: &LifecycleRule) -> Option<&str> {
    let Some(filter) = rule.filter() else {
        // As it was written before there were filters.
        #[allow(deprecated, reason = "buckets have rules that are older than their filters")]
        return Some(rule.prefix().unwrap_or_default());
    };
    let LifecycleRuleFilter { prefix, tag, object_size_greater_than, object_size_less_than, and, .. } = filter;
    let plain = tag.is_none() && object_size_greater_than.is_none() && object_size_less_than.is_none() && and.is_none();
    plain.then(|| prefix.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{AbortIncompleteMultipartUpload, LifecycleExpiration, Tag};

    use super::*;

    fn rule(prefix: &str, abort: Option<i32>, expires: Option<i32>) -> LifecycleRule {
        let abort = abort.map(|days| AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build());
        let expiration = expires.map(|days| LifecycleExpiration::builder().days(days).build());
        let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
        let rule = LifecycleRule::builder().status(ExpirationStatus::Enabled).filter(filter);
        rule.set_abort_incomplete_multipart_upload(abort).set_expiration(expiration).build().unwrap()
    }

    #[test]
    fn only_rules_that_hold_for_the_whole_prefix_throw_its_unfinished_uploads_away() {
        let after = |rules: &[LifecycleRule]| of_rules(rules, "docs/").aborts_after;
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[rule("", Some(7), None)]), Some(7));
        assert_eq!(after(&[rule("docs/", Some(7), None), rule("", Some(3), None)]), Some(3));
        assert_eq!(after(&[rule("docs/old/", Some(7), None), rule("other/", Some(1), None)]), None);
        let mut off = rule("", Some(7), None);
        off.status = ExpirationStatus::Disabled;
        assert_eq!(after(&[off]), None);
        let mut tagged = rule("", Some(7), None);
        let tag = Tag::builder().key("a").value("b").build().unwrap();
        tagged.filter = Some(LifecycleRuleFilter::builder().tag(tag).build());
        assert_eq!(after(&[tagged]), None, "an upload has no tag");
    }

    #[test]
    fn rules_that_delete_objects_by_age_are_seen_wherever_they_touch_the_prefix() {
        let expires = |rule: LifecycleRule| of_rules(&[rule], "docs/").expires_objects;
        assert!(expires(rule("", None, Some(30))) && expires(rule("docs/old/", None, Some(30))));
        assert!(!expires(rule("other/", None, Some(30))) && !expires(rule("", Some(7), None)));
    }
}
