// SPDX-License-Identifier: Apache-2.0
/* What an image that CRIU made needs. */
#include <errno.h>

#include "base/err.h"
#include "policies/foreign.h"

int policy_derive_needs(const struct image *img, CkptNeeds **ret_needs, CkptFacts **ret_source,
			struct ck_err *err)
{
	(void)img;
	(void)ret_needs;
	(void)ret_source;
	return ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot judge an image of CRIU's");
}
