/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/: a word that dump and restore have in common. */
#ifndef CK_ENGINE_KIN_H
#define CK_ENGINE_KIN_H

/* What processes can have in common that are not threads of one: made by clone(2) with the flag of
 * the same name. */
enum engine_kin { ENGINE_KIN_VM, ENGINE_KIN_FILES, ENGINE_KIN_FS, ENGINE_KIN_SIGHAND, ENGINE_NKIN };

#endif
