/* Protocol buffers, as much of reading them as signatures and requests need. */
#pragma once

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "errors.h"

typedef struct {
  const uint8_t *at, *end;
} Bytes;

typedef struct {
  uint32_t number;
  Bytes content; /* empty for fields that are not length-delimited */
} Field;

static uint64_t read_varint(Bytes *bytes, TF_Status *status) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && bytes->at < bytes->end; shift += 7) {
    uint8_t byte = *bytes->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  refuse(status, "the message is damaged: a number does not end");
  return 0;
}

/* Moves past the next field of a message; false at its end, and where it is damaged. */
static bool next_field(Bytes *message, Field *field, TF_Status *status) {
  if (message->at == message->end || !ok(status)) return false;
  uint64_t tag = read_varint(message, status), length = 0;
  field->number = (uint32_t)(tag >> 3);
  field->content = (Bytes){message->at, message->at};
  switch (tag & 7) {
    case 0: read_varint(message, status); return ok(status);
    case 1: length = 8; break;
    case 2: length = read_varint(message, status); break;
    case 5: length = 4; break;
    default: refuse(status, "the message is damaged: unknown wire type %d", (int)(tag & 7));
  }
  if (ok(status) && length > (uint64_t)(message->end - message->at)) {
    refuse(status, "the message is damaged: field %" PRIu32 " passes its end", field->number);
  }
  if (!ok(status)) return false;
  if ((tag & 7) == 2) field->content = (Bytes){message->at, message->at + length};
  message->at += length;
  return true;
}

static Bytes field_of(Bytes message, uint32_t number, TF_Status *status) {
  Field field;
  while (next_field(&message, &field, status)) {
    if (field.number == number) return field.content;
  }
  return (Bytes){message.end, message.end};
}

static char *text_of(Bytes bytes) {
  return checked(strndup((const char *)bytes.at, (size_t)(bytes.end - bytes.at)));
}
