import sys
import boto3

s3 = boto3.client(
    "s3", endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id="stand", aws_secret_access_key="in"
)
answer = s3.get_object(Bucket="bucket", Key="folder/object.txt")
print(answer["ResponseMetadata"]["HTTPStatusCode"], answer["ContentLength"], answer["Body"].read().decode())
