"""The protobuf messages of the published converter, made at run time from its schema."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> list[type]:
    file = descriptor_pb2.FileDescriptorProto(name="published.proto", syntax="proto2")
    metadata = file.message_type.add(name="MetadataRecord")
    metadata.field.add(name="labels", number=1, type=_FIELD.TYPE_INT32, label=_FIELD.LABEL_REPEATED)
    metadata.field.add(
        name="progressive_levels", number=2, type=_FIELD.TYPE_INT32, label=_FIELD.LABEL_REQUIRED
    )
    group = file.message_type.add(name="ScanGroup")
    group.field.add(
        name="image_bytes", number=1, type=_FIELD.TYPE_BYTES, label=_FIELD.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for name in ("MetadataRecord", "ScanGroup")
    ]


MetadataRecord, ScanGroup = _messages()
