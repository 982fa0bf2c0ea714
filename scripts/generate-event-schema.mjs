/**
 * Regenerates src/report/tensorboard/event_pb.ts, the messages of TensorBoard's event files that Linnet writes.
 *
 * Names and numbers of the fields are those of the public schema (event.proto and summary.proto of TensorBoard); fields that
 * Linnet does not write are left out, which the wire format allows.
 *
 * Usage: node scripts/generate-event-schema.mjs
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';

const target = fileURLToPath(new URL('../src/report/tensorboard/event_pb.ts', import.meta.url));
const generator = fileURLToPath(new URL('../node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es', import.meta.url));
const packageName = 'tensorboard';

const notice = `// The part of TensorBoard's event messages that is written here; made by scripts/generate-event-schema.mjs.
`;

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

const request = create(CodeGeneratorRequestSchema, {
  fileToGenerate: [file.name],
  parameter: 'target=ts,erasable_syntax=true',
  protoFile: [file],
});
const output = execFileSync('node', [generator], { input: toBinary(CodeGeneratorRequestSchema, request) });
const response = fromBinary(CodeGeneratorResponseSchema, output);
if (response.error) throw new Error(response.error);
if (response.file.length !== 1) throw new Error(`expected one generated file, got ${response.file.length}`);
writeFileSync(target, `${notice}${response.file[0].content}`);
console.log(`${target} written`);
