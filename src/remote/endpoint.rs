//! A memory for where a bucket is.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint};

/// Asks the SDK's rules once a bucket instead of twice a request.
///
/// The SDK remembers one answer too, but by the object's key among others, so it never fits.
#[derive(Debug, Default)]
pub(super) struct BucketEndpoints {
    rules: DefaultResolver,
    known: RwLock<HashMap<String, Endpoint>>,
}

impl ResolveEndpoint for BucketEndpoints {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        // Within a client the answer depends on the bucket only, but for what an operation asks for specially.
        let special = params.use_s3_express_control_endpoint().is_some()
            || params.disable_access_points().is_some()
            || params.use_object_lambda_endpoint().is_some();
        let Some(bucket) = params.bucket().filter(|_| !special) else {
            return ResolveEndpoint::resolve_endpoint(&self.rules, params);
        };
        if let Some(endpoint) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(bucket) {
            return EndpointFuture::ready(Ok(endpoint.clone()));
        }
        EndpointFuture::new(async move {
            let endpoint = ResolveEndpoint::resolve_endpoint(&self.rules, params).await?;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(bucket.to_owned(), endpoint.clone());
            Ok(endpoint)
        })
    }
}
