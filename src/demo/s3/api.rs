//! The S3 operations of the embedded store.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::index::{self, Upload};
use super::store::{Store, check_conditions};

/// The least size of all parts but the last.
const MIN_PART: u64 = 5 << 20;

/// Does something whole even if whoever has asked for it goes meanwhile: hyper drops what it answers with.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = S3Result<T>> + Send + 'static) -> S3Result<T> {
    tokio::spawn(work).await.map_err(S3Error::internal_error)?
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.create(&req.input.bucket).await?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files().list_buckets(req).await
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let present = self.find(&bucket, &key)?;
        check_conditions(present.as_ref(), req.input.if_match.take(), req.input.if_none_match.take())?;
        let blob = self.new_blob();
        req.input.key = blob.clone();
        // s3s-fs knows two classes only, and stores them no differently.
        req.input.storage_class = None;
        let mut response = match self.files().put_object(req).await {
            Ok(response) => response,
            Err(error) => {
                self.discard(&bucket, &blob).await;
                return Err(error);
            }
        };
        response.output.version_id = self.publish(&bucket, &key, blob, strong(response.output.e_tag.clone())?).await?;
        Ok(response)
    }

    async fn get_object(&self, mut req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let (bucket, key, version) = (req.input.bucket.clone(), req.input.key.clone(), req.input.version_id.take());
        let entry = self.version(&bucket, &key, version.as_deref())?;
        check_conditions(Some(&entry), req.input.if_match.take(), req.input.if_none_match.take())?;
        req.input.key = entry.blob;
        let (kind, disposition) =
            (req.input.response_content_type.take(), req.input.response_content_disposition.take());
        // A file that is removed while it is read is read to its end; one that was removed a moment before is not found.
        let mut response = self.files().get_object(req).await?;
        (response.output.e_tag, response.output.version_id) = (Some(ETag::Strong(entry.etag)), entry.version);
        // What a presigned URL asks to be told to a browser.
        if kind.is_some() {
            response.output.content_type = kind;
        }
        response.output.content_disposition = disposition.or(response.output.content_disposition);
        Ok(response)
    }

    async fn head_object(&self, mut req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let version = req.input.version_id.take();
        let entry = self.version(&req.input.bucket, &req.input.key, version.as_deref())?;
        req.input.key = entry.blob;
        let mut response = self.files().head_object(req).await?;
        (response.output.e_tag, response.output.version_id) = (Some(ETag::Strong(entry.etag)), entry.version);
        Ok(response)
    }

    async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let status = req.input.versioning_configuration.status.ok_or_else(|| s3_error!(MalformedXML))?;
        let mut index = self.index();
        let bucket = index.buckets.get_mut(&req.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        bucket.versioning = Some(status.as_str() == BucketVersioningStatus::ENABLED);
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let index = self.index();
        let bucket = index.buckets.get(&req.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let name = |on| if on { BucketVersioningStatus::ENABLED } else { BucketVersioningStatus::SUSPENDED };
        let status = bucket.versioning.map(|on| BucketVersioningStatus::from_static(name(on)));
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    async fn copy_object(&self, mut req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.check_bucket(&bucket)?;
        let CopySource::Bucket { bucket: from, key: source, version_id } = &mut req.input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let entry = self.version(from, source, version_id.take().as_deref())?;
        *source = entry.blob.as_str().into();
        let (matching, other) = (req.input.copy_source_if_match.take(), req.input.copy_source_if_none_match.take());
        check_conditions(Some(&entry), matching, other)?;
        let blob = self.new_blob();
        req.input.key = blob.clone();
        let mut response = self.files().copy_object(req).await?;
        let etag = response.output.copy_object_result.as_ref().and_then(|result| result.e_tag.clone());
        response.output.version_id = self.publish(&bucket, &key, blob, strong(etag)?).await?;
        Ok(response)
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let marker = self.remove(&req.input.bucket, &req.input.key, req.input.version_id.as_deref()).await?;
        let output = DeleteObjectOutput {
            delete_marker: marker.as_ref().map(|_| true),
            version_id: marker,
            ..Default::default()
        };
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let quiet = req.input.delete.quiet.unwrap_or(false);
        let mut deleted = Vec::new();
        for object in req.input.delete.objects {
            let marker = self.remove(&req.input.bucket, &object.key, object.version_id.as_deref()).await?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                delete_marker: marker.as_ref().map(|_| true),
                delete_marker_version_id: marker,
            });
        }
        let deleted = (!quiet).then_some(deleted);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..Default::default() }))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        // The older listing goes on after a key, which is what `start-after` does.
        let marker = req.input.marker.clone();
        let mut request: S3Request<ListObjectsV2Input> = req.map_input(Into::into);
        request.input.continuation_token = None;
        request.input.start_after = marker.clone();
        let v2 = self.list_objects_v2(request).await?.output;
        let last = v2.contents.iter().flatten().filter_map(|object| object.key.clone()).next_back();
        let last_group = v2.common_prefixes.iter().flatten().filter_map(|group| group.prefix.clone()).next_back();
        let next_marker = last.max(last_group).filter(|_| v2.is_truncated == Some(true));
        Ok(S3Response::new(ListObjectsOutput {
            name: v2.name,
            prefix: v2.prefix,
            delimiter: v2.delimiter,
            marker,
            next_marker,
            max_keys: v2.max_keys,
            is_truncated: v2.is_truncated,
            contents: v2.contents,
            common_prefixes: v2.common_prefixes,
            encoding_type: v2.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let index = self.index();
        let bucket = index.buckets.get(&req.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        Ok(S3Response::new(index::list(&bucket.objects, req.input)))
    }

    async fn create_multipart_upload(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.check_bucket(&bucket)?;
        let blob = self.new_blob();
        req.input.key = blob.clone();
        let mut response = self.files().create_multipart_upload(req).await?;
        let id = response.output.upload_id.clone().ok_or_else(|| s3_error!(InternalError))?;
        let begun = SystemTime::now();
        let upload = Upload { bucket, key: key.clone(), blob, begun, parts: Default::default() };
        self.index().uploads.insert(id, upload);
        response.output.key = Some(key);
        Ok(response)
    }

    async fn upload_part(&self, mut req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        let upload = self.upload(&id, &req.input.bucket, &req.input.key)?;
        let size = req.input.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        let expected = req.input.content_md5.clone();
        req.input.key = upload.blob;
        let response = self.files().upload_part(req).await?;
        let etag = strong(response.output.e_tag.clone())?;
        if let Some(expected) = expected {
            let bytes = STANDARD.decode(expected).map_err(|_| s3_error!(InvalidDigest))?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if hex != etag {
                return Err(s3_error!(BadDigest));
            }
        }
        let mut index = self.index();
        let upload = index.uploads.get_mut(&id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(number, (size, etag));
        Ok(response)
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (bucket, key, id) = (req.input.bucket.clone(), req.input.key.clone(), req.input.upload_id.clone());
        let upload = self.upload(&id, &bucket, &key)?;
        let parts = req.input.multipart_upload.iter().flat_map(|list| list.parts.iter().flatten());
        let mut sizes = Vec::new();
        for part in parts {
            let known = part.part_number.and_then(|number| upload.parts.get(&number));
            let same = known.filter(|(_, etag)| part.e_tag.as_ref().is_some_and(|given| given.value() == etag));
            sizes.push(same.ok_or_else(|| s3_error!(InvalidPart))?.0);
        }
        if sizes.split_last().is_some_and(|(_, others)| others.iter().any(|&size| size < MIN_PART)) {
            return Err(s3_error!(EntityTooSmall));
        }
        req.input.key = upload.blob.clone();
        let store = self.clone();
        to_its_end(async move {
            let mut response = store.files().complete_multipart_upload(req).await?;
            if let Some(future) = response.output.future.take() {
                response.output = future.await?;
            }
            store.index().uploads.remove(&id);
            response.output.version_id =
                store.publish(&bucket, &key, upload.blob, strong(response.output.e_tag.clone())?).await?;
            response.output.key = Some(key);
            Ok(response)
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        mut req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = req.input.upload_id.clone();
        let upload = self.upload(&id, &req.input.bucket, &req.input.key)?;
        req.input.key = upload.blob;
        let store = self.clone();
        to_its_end(async move {
            let response = store.files().abort_multipart_upload(req).await?;
            store.index().uploads.remove(&id);
            Ok(response)
        })
        .await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput { bucket, key, upload_id, .. } = req.input;
        let upload = self.upload(&upload_id, &bucket, &key)?;
        let part = |(number, (size, etag)): (i32, (u64, String))| Part {
            part_number: Some(number),
            size: i64::try_from(size).ok(),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        };
        let parts = Some(upload.parts.into_iter().map(part).collect());
        let (bucket, key, upload_id) = (Some(bucket), Some(key), Some(upload_id));
        Ok(S3Response::new(ListPartsOutput { bucket, key, upload_id, parts, ..Default::default() }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let bucket = req.input.bucket;
        self.check_bucket(&bucket)?;
        let index = self.index();
        let uploads = index.uploads.iter().filter(|(_, upload)| upload.bucket == bucket);
        let uploads = uploads.map(|(id, upload)| MultipartUpload {
            upload_id: Some(id.clone()),
            key: Some(upload.key.clone()),
            initiated: Some(Timestamp::from(upload.begun)),
            ..Default::default()
        });
        let uploads = Some(uploads.collect());
        Ok(S3Response::new(ListMultipartUploadsOutput { bucket: Some(bucket), uploads, ..Default::default() }))
    }
}

fn strong(etag: Option<ETag>) -> S3Result<String> {
    etag.map(ETag::into_value).ok_or_else(|| s3_error!(InternalError))
}
