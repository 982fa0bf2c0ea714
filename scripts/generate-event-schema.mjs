/**
 * Regenerates src/report/tensorboard/event_pb.ts, the messages of TensorBoard's event files that Linnet writes.
 *
 * Names and numbers of the fields are those of the public schema (event.proto and summary.proto of TensorBoard); fields that
 * Linnet does not write are left out, which the wire format allows.
 *
 * Usage: node scripts/generate-event-schema.mjs
 */
import { create } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';
import { writeProtobufModule } from './protobuf-module.mjs';

const packageName = 'tensorboard';

const field = (name, number, type, more = {}) => ({
  name,
  number,
  type,
  label: Label.OPTIONAL,
  jsonName: protoCamelCase(name),
  ...more,
});
const message = (name, number, typeName, more = {}) =>
  field(name, number, Type.MESSAGE, { typeName: `.${packageName}.${typeName}`, ...more });

const file = create(FileDescriptorProtoSchema, {
  name: 'event.proto',
  package: packageName,
  syntax: 'proto3',
  messageType: [
    {
      name: 'Event',
      oneofDecl: [{ name: 'what' }],
      field: [
        field('wall_time', 1, Type.DOUBLE),
        field('step', 2, Type.INT64),
        field('file_version', 3, Type.STRING, { oneofIndex: 0 }),
        message('summary', 5, 'Summary', { oneofIndex: 0 }),
        message('session_log', 7, 'SessionLog', { oneofIndex: 0 }),
      ],
    },
    // The status is an enum in the schema, whose numbers travel as those of an int32.
    { name: 'SessionLog', field: [field('status', 1, Type.INT32)] },
    {
      name: 'Summary',
      field: [message('value', 1, 'Summary.Value', { label: Label.REPEATED })],
      nestedType: [
        {
          name: 'Value',
          oneofDecl: [{ name: 'value' }],
          field: [field('tag', 1, Type.STRING), field('simple_value', 2, Type.FLOAT, { oneofIndex: 0 })],
        },
      ],
    },
  ],
});

writeProtobufModule(
  file,
  'src/report/tensorboard/event_pb.ts',
  "// The part of TensorBoard's event messages that is written here; made by scripts/generate-event-schema.mjs.",
);
