// Inferences on a GPU that read their inputs from other places than the session's own.
#ifndef GENBENCH_ORT_ROTATE_H
#define GENBENCH_ORT_ROTATE_H

#include "shim.h"

// gb_ort_rotated is a session with another binding of its inputs.
typedef struct {
	gb_ort_session *session;
	OrtIoBinding *binding;
	OrtValue **inputs; // as many as the session has
} gb_ort_rotated;

// gb_ort_rotate binds the session's outputs and these addresses of its inputs. It
// gives NULL or a message which the caller frees; gb_ort_forget_rotated frees what it
// made, also where it failed. The inputs' shapes are those of the session's own values.
char *gb_ort_rotate(gb_ort_rotated *r, gb_ort_session *s, const uint64_t *addresses);
void gb_ort_forget_rotated(gb_ort_rotated *r);

// gb_ort_submit_rotated is gb_ort_submit on the inputs of a gb_ort_rotated.
int gb_ort_submit_rotated(void *rotated);

#endif
