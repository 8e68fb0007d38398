/* What is done about errors: those of a request go into a TF_Status, all others end the process. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tensorflow/c/c_api.h"

static void fail(const char *doing, const char *message) {
  fprintf(stderr, "saved_model_process: %s: %s\n", doing, message);
  exit(1);
}

static void check(const TF_Status *status, const char *doing) {
  if (TF_GetCode(status) != TF_OK) fail(doing, TF_Message(status));
}

static void *checked(void *memory) {
  if (memory == NULL) fail("allocating", "out of memory");
  return memory;
}

static bool ok(const TF_Status *status) { return TF_GetCode(status) == TF_OK; }

static void refuse(TF_Status *status, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  TF_SetStatus(status, TF_INVALID_ARGUMENT, message);
}
