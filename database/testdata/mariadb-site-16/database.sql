CREATE TABLE `tabUser` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `enabled` tinyint(4) NOT NULL DEFAULT 1,
  `email` varchar(140) DEFAULT NULL,
  `first_name` varchar(140) DEFAULT NULL,
  `middle_name` varchar(140) DEFAULT NULL,
  `last_name` varchar(140) DEFAULT NULL,
  `full_name` varchar(140) DEFAULT NULL,
  `username` varchar(140) DEFAULT NULL,
  `language` varchar(140) DEFAULT NULL,
  `time_zone` varchar(140) DEFAULT NULL,
  `send_welcome_email` tinyint(4) NOT NULL DEFAULT 1,
  `unsubscribed` tinyint(4) NOT NULL DEFAULT 0,
  `user_image` text DEFAULT NULL,
  `role_profile_name` varchar(140) DEFAULT NULL,
  `module_profile` varchar(140) DEFAULT NULL,
  `home_settings` longtext DEFAULT NULL,
  `gender` varchar(140) DEFAULT NULL,
  `birth_date` date DEFAULT NULL,
  `interest` text DEFAULT NULL,
  `phone` varchar(140) DEFAULT NULL,
  `location` varchar(140) DEFAULT NULL,
  `bio` text DEFAULT NULL,
  `mobile_no` varchar(140) DEFAULT NULL,
  `mute_sounds` tinyint(4) NOT NULL DEFAULT 0,
  `desk_theme` varchar(140) DEFAULT NULL,
  `code_editor_type` varchar(140) DEFAULT 'vscode',
  `banner_image` text DEFAULT NULL,
  `search_bar` tinyint(4) NOT NULL DEFAULT 1,
  `notifications` tinyint(4) NOT NULL DEFAULT 1,
  `list_sidebar` tinyint(4) NOT NULL DEFAULT 1,
  `bulk_actions` tinyint(4) NOT NULL DEFAULT 1,
  `view_switcher` tinyint(4) NOT NULL DEFAULT 1,
  `form_sidebar` tinyint(4) NOT NULL DEFAULT 1,
  `form_navigation_buttons` tinyint(4) NOT NULL DEFAULT 0,
  `timeline` tinyint(4) NOT NULL DEFAULT 1,
  `dashboard` tinyint(4) NOT NULL DEFAULT 1,
  `show_absolute_datetime_in_timeline` tinyint(4) NOT NULL DEFAULT 0,
  `new_password` text DEFAULT NULL,
  `logout_all_sessions` tinyint(4) NOT NULL DEFAULT 1,
  `reset_password_key` varchar(140) DEFAULT NULL,
  `last_reset_password_key_generated_on` datetime(6) DEFAULT NULL,
  `last_password_reset_date` date DEFAULT NULL,
  `redirect_url` text DEFAULT NULL,
  `document_follow_notify` tinyint(4) NOT NULL DEFAULT 0,
  `document_follow_frequency` varchar(140) DEFAULT 'Daily',
  `follow_created_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_commented_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_liked_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_assigned_documents` tinyint(4) NOT NULL DEFAULT 0,
  `follow_shared_documents` tinyint(4) NOT NULL DEFAULT 0,
  `email_signature` longtext DEFAULT NULL,
  `thread_notify` tinyint(4) NOT NULL DEFAULT 1,
  `send_me_a_copy` tinyint(4) NOT NULL DEFAULT 0,
  `allowed_in_mentions` tinyint(4) NOT NULL DEFAULT 1,
  `default_workspace` varchar(140) DEFAULT NULL,
  `default_app` varchar(140) DEFAULT NULL,
  `simultaneous_sessions` int(11) NOT NULL DEFAULT 2,
  `restrict_ip` text DEFAULT NULL,
  `last_ip` varchar(140) DEFAULT NULL,
  `login_after` int(11) NOT NULL DEFAULT 0,
  `user_type` varchar(140) DEFAULT 'System User',
  `last_active` datetime(6) DEFAULT NULL,
  `login_before` int(11) NOT NULL DEFAULT 0,
  `bypass_restrict_ip_check_if_2fa_enabled` tinyint(4) NOT NULL DEFAULT 0,
  `last_login` varchar(140) DEFAULT NULL,
  `last_known_versions` text DEFAULT NULL,
  `api_key` varchar(140) DEFAULT NULL,
  `api_secret` text DEFAULT NULL,
  `onboarding_status` text DEFAULT '{}',
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `username` (`username`),
  UNIQUE KEY `mobile_no` (`mobile_no`),
  UNIQUE KEY `api_key` (`api_key`),
  KEY `last_active` (`last_active`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabUser` VALUES ('Administrator','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,0,1,'admin@example.com','Administrator',NULL,NULL,'Administrator','administrator',NULL,'Asia/Kolkata',1,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,1,NULL,NULL,2,NULL,'127.0.0.1',0,'System User','2026-11-25 21:07:16.741051',0,0,'2026-11-25 20:58:26.114111',NULL,'18d29ecb3bc0dae','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('alice@example.com','2026-11-25 20:53:59.205979','2026-11-25 21:10:26.154639','Administrator','Administrator',0,0,1,'alice@example.com','Alice',NULL,NULL,'Alice','alice',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,1,0,1,NULL,NULL,2,NULL,NULL,0,'System User','2026-11-25 21:05:08.219365',0,0,NULL,NULL,'2c6245becaa0961','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('bob@example.com','2026-11-25 20:53:59.680132','2026-11-25 21:10:26.568437','Administrator','Administrator',0,0,1,'bob@example.com','Bob',NULL,NULL,'Bob','bob',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,1,0,1,NULL,NULL,2,NULL,NULL,0,'System User','2026-11-25 21:05:08.020119',0,0,NULL,NULL,'5f200e7119f1d3c','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('disabled@example.com','2026-11-25 20:55:30.249743','2026-11-25 21:10:26.691986','Administrator','Administrator',0,0,0,'disabled@example.com','Disabled',NULL,NULL,'Disabled','disabled',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,0,NULL,NULL,2,NULL,NULL,0,'System User','2026-11-25 21:05:08.125241',0,0,NULL,NULL,'e6dc60b08079256','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('eve@example.com','2026-11-25 20:58:27.715115','2026-11-25 21:10:23.651570','Administrator','Administrator',0,0,1,'eve@example.com','Eve',NULL,NULL,'Eve','eve',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,0,NULL,NULL,2,'','127.0.0.1',0,'System User','2026-11-25 21:10:27.619080',0,0,'2026-11-25 21:10:27.619044',NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('Guest','2026-11-25 20:53:38.117309','2026-11-25 20:53:38.117309','Administrator','Administrator',0,0,1,'guest@example.com','Guest',NULL,NULL,'Guest','guest',NULL,'Asia/Kolkata',1,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,0,0,1,NULL,NULL,2,NULL,NULL,0,'Website User',NULL,0,0,NULL,NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('nokey@example.com','2026-11-25 20:55:30.353457','2026-11-25 21:10:26.778085','Administrator','Administrator',0,0,1,'nokey@example.com','Nokey',NULL,NULL,'Nokey','nokey',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,1,0,1,NULL,NULL,2,NULL,NULL,0,'System User',NULL,0,0,NULL,NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('o\'brien+api@example.com','2026-11-25 20:55:30.300416','2026-11-25 21:10:26.738236','Administrator','Administrator',0,0,1,'o\'brien+api@example.com','José',NULL,NULL,'José','josé',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,1,0,1,NULL,NULL,2,NULL,NULL,0,'System User','2026-11-25 21:05:07.810598',0,0,NULL,NULL,'2ef7336eef15621','***************','{}',NULL,NULL,NULL,NULL);
INSERT INTO `tabUser` VALUES ('web@example.com','2026-11-25 20:55:30.196112','2026-11-25 21:10:26.607502','Administrator','Administrator',0,0,1,'web@example.com','Web',NULL,NULL,'Web','web',NULL,'Asia/Kolkata',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,'Light','vscode',NULL,1,1,1,1,1,1,0,1,1,0,'',1,NULL,NULL,NULL,NULL,0,'Daily',0,0,0,0,0,NULL,1,0,1,NULL,NULL,2,NULL,NULL,0,'Website User','2026-11-25 21:05:07.757310',0,0,NULL,NULL,'224a7395b026374','***************','{}',NULL,NULL,NULL,NULL);
CREATE TABLE `__Auth` (
  `doctype` varchar(140) NOT NULL,
  `name` varchar(255) NOT NULL,
  `fieldname` varchar(140) NOT NULL,
  `password` text NOT NULL,
  `encrypted` tinyint(4) NOT NULL DEFAULT 0,
  PRIMARY KEY (`doctype`,`name`,`fieldname`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `__Auth` VALUES ('User','Administrator','api_secret','gAAAAABrBwFq85OZwz0Bgy-vQ19i1KK-AJtUdPIvP1e1QVAWmerPi3YBVB2T0xHRuKkZav_NXVLiYTY1pPEDtwmz1uUW8Ipiow==',1);
INSERT INTO `__Auth` VALUES ('User','Administrator','password','$pbkdf2-sha256$29000$ByBkzHlvzdk7h3Cu1Zpzbg$pAZnXsh.5xNRJ/MoGjEdIUdIxZYqRO.Nfm/jfB7XDfI',0);
INSERT INTO `__Auth` VALUES ('User','alice@example.com','api_secret','gAAAAABrBwFqY2waQ5RiaJYqpYHZQ8VNO89Q_yzOe5N1NLAubNxSjaAA6knhWmFYha57IEqd0NEo3GcsJdqafZfl0tfZ1p8RIA==',1);
INSERT INTO `__Auth` VALUES ('User','bob@example.com','api_secret','gAAAAABrBwFqvm6xTfDnDdBwb8c_3L8wLL7R6UTDaA591ImqgjNlWHLpGOa5kvPxvi5S6yoTn7NHYmplsY3Nl_scUWtP_aywbA==',1);
INSERT INTO `__Auth` VALUES ('User','disabled@example.com','api_secret','gAAAAABrBwFqde9j6vsVTB6nDb9glxD6ZGVlptuI5woybDbJoJwPYYqict_j07cCNOA8bUNVD1nZ_uahqivfugpmcJKPSTgjeQ==',1);
INSERT INTO `__Auth` VALUES ('User','eve@example.com','password','$pbkdf2-sha256$29000$ay0FQEhJKQWgNCYkBKCU8g$iGgJjG7ZXoDHm0UvG.FJRpwmQczM7AUAo6.HqphUM6I',0);
INSERT INTO `__Auth` VALUES ('User','o\'brien+api@example.com','api_secret','gAAAAABrBwFqjYlb0A19vduybj1bwImFBbrUPR1oEIFTMy4YQopuBjK0M06ROkVUZu-yA-kz5UxuQHNs9oxk26fFN7Q3lhrSUQ==',1);
INSERT INTO `__Auth` VALUES ('User','web@example.com','api_secret','gAAAAABrBwFqzUTGlvkTiy8nLdw65YPa0OsfZHRKKUoSdDdRiP211PN0Qr9njAU6vgIha0gIfemqCwjtOWhMWE07L_AwpkPmMg==',1);
CREATE TABLE `tabOAuth Bearer Token` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `client` varchar(140) DEFAULT NULL,
  `user` varchar(140) NOT NULL DEFAULT '',
  `scopes` text DEFAULT NULL,
  `access_token` varchar(140) DEFAULT NULL,
  `refresh_token` varchar(140) DEFAULT NULL,
  `expiration_time` datetime(6) DEFAULT NULL,
  `expires_in` int(11) NOT NULL DEFAULT 0,
  `status` varchar(140) DEFAULT NULL,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `access_token` (`access_token`),
  KEY `user` (`user`),
  KEY `expiration_time` (`expiration_time`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabOAuth Bearer Token` VALUES ('29a23fff48954ed8cf5efcb1d2dc38','2026-11-25 21:10:26.886755','2026-11-25 21:10:26.886755','Administrator','Administrator',0,0,'pst5lhvsui','disabled@example.com','all openid','29a23fff48954ed8cf5efcb1d2dc38','29a23fff48954ed8cf5efcb1d2dc38-refresh','2066-11-15 21:10:26.886705',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('2d6f2973a9c21c820d549cdb01d1b3','2026-11-25 21:10:26.881071','2026-11-25 21:10:26.881071','Administrator','Administrator',0,0,'pst5lhvsui','bob@example.com','all openid','2d6f2973a9c21c820d549cdb01d1b3','2d6f2973a9c21c820d549cdb01d1b3-refresh','2066-11-15 21:10:26.880997',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('2e73c1cde61ca66944b09369275f80','2026-11-25 21:10:26.885312','2026-11-25 21:10:26.885312','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','2e73c1cde61ca66944b09369275f80','2e73c1cde61ca66944b09369275f80-refresh','2026-11-25 20:10:26.885255',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('30d123a9f0b3ef7c27a3bb4faf1741','2026-11-25 21:10:26.887774','2026-11-25 21:10:26.887774','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid notofclient','30d123a9f0b3ef7c27a3bb4faf1741','30d123a9f0b3ef7c27a3bb4faf1741-refresh','2066-11-15 21:10:26.887723',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('641cc7393fbf7e529b94837c181e81','2026-11-25 21:10:26.876580','2026-11-25 21:10:26.876580','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','641cc7393fbf7e529b94837c181e81','641cc7393fbf7e529b94837c181e81-refresh','2066-11-15 21:10:26.876454',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('9f3dfa979faf6acb5a98db1a1b31c8','2026-11-25 21:10:26.888517','2026-11-25 21:10:26.888517','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','openid','9f3dfa979faf6acb5a98db1a1b31c8','9f3dfa979faf6acb5a98db1a1b31c8-refresh','2066-11-15 21:10:26.888466',3600,'Active',NULL,NULL,NULL,NULL);
INSERT INTO `tabOAuth Bearer Token` VALUES ('b0125c8ce26ae0a47c1b9ed54c4bed','2026-11-25 21:10:26.886066','2026-11-25 21:10:26.886066','Administrator','Administrator',0,0,'pst5lhvsui','alice@example.com','all openid','b0125c8ce26ae0a47c1b9ed54c4bed','b0125c8ce26ae0a47c1b9ed54c4bed-refresh','2066-11-15 21:10:26.886010',3600,'Revoked',NULL,NULL,NULL,NULL);
CREATE TABLE `tabOAuth Client` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `client_id` varchar(140) DEFAULT NULL,
  `user` varchar(140) DEFAULT NULL,
  `client_secret` varchar(140) DEFAULT NULL,
  `default_redirect_uri` varchar(140) DEFAULT NULL,
  `skip_authorization` tinyint(4) NOT NULL DEFAULT 0,
  `app_name` varchar(140) DEFAULT NULL,
  `scopes` text DEFAULT 'all openid',
  `redirect_uris` text DEFAULT NULL,
  `client_uri` varchar(140) DEFAULT NULL,
  `software_id` varchar(140) DEFAULT NULL,
  `tos_uri` varchar(140) DEFAULT NULL,
  `contacts` text DEFAULT NULL,
  `logo_uri` varchar(140) DEFAULT NULL,
  `software_version` varchar(140) DEFAULT NULL,
  `policy_uri` varchar(140) DEFAULT NULL,
  `grant_type` varchar(140) DEFAULT NULL,
  `token_endpoint_auth_method` varchar(140) DEFAULT 'Client Secret Basic',
  `response_type` varchar(140) DEFAULT 'Code',
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabOAuth Client` VALUES ('pst5lhvsui','2026-11-25 20:53:59.717753','2026-11-25 20:53:59.717753','Administrator','Administrator',0,0,'pst5lhvsui','Administrator','realclientsecret','http://127.0.0.1/cb',1,'Real','all openid','http://127.0.0.1/cb',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'Authorization Code','Client Secret Basic','Code',NULL,NULL,NULL,NULL);
CREATE TABLE `tabHas Role` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `role` varchar(140) DEFAULT NULL,
  `parent` varchar(140) DEFAULT NULL,
  `parentfield` varchar(140) DEFAULT NULL,
  `parenttype` varchar(140) DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `parent` (`parent`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabHas Role` VALUES ('3h7bq5nu0r','2026-11-25 20:53:59.205979','2026-11-25 21:10:26.154639','Administrator','Administrator',0,1,'System Manager','alice@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('3h7nbaiami','2026-11-25 20:53:59.205979','2026-11-25 21:10:26.154639','Administrator','Administrator',0,2,'Report Manager','alice@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('3h93tsblqr','2026-11-25 20:53:59.680132','2026-11-25 21:10:26.568437','Administrator','Administrator',0,1,'Website Manager','bob@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('3hateer3nb','2026-11-25 20:55:30.249743','2026-11-25 21:10:26.691986','Administrator','Administrator',0,1,'System Manager','disabled@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('3hb0ue8e4d','2026-11-25 20:55:30.353457','2026-11-25 21:10:26.778085','Administrator','Administrator',0,1,'Website Manager','nokey@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('3hbffe20v2','2026-11-25 20:55:30.300416','2026-11-25 21:10:26.738236','Administrator','Administrator',0,1,'Website Manager','o\'brien+api@example.com','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm40mcca30','2026-11-25 20:53:38.099288','2026-11-25 21:10:26.816418','Administrator','Administrator',0,1,'Administrator','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm5bu4qjvm','2026-11-25 20:53:38.117683','2026-11-25 20:53:38.117683','Administrator','Administrator',0,1,'Guest','Guest','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm802vvl50','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,3,'Sales Master Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm80hsdjef','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,11,'Accounts Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm81dlcmgk','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,7,'Sales Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm88d1dc8j','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,20,'Report Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8av8qibj','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,9,'Sales User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8bn7s423','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,24,'Desk User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8g8uaupu','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,5,'Maintenance Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8ge51sjv','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,25,'System Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8hau72t7','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,12,'Newsletter Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8jkrueqq','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,6,'Maintenance User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8lv010jf','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,18,'Translator','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8lv2jeq1','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,26,'Guest','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8m0ri7j5','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,4,'Purchase Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8m8fqi3e','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,23,'Website Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8p0r6sul','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,27,'All','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8qsdqiq4','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,21,'Workspace Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8r0gmjc4','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,8,'Accounts User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8r0r4t47','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,19,'Script Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8r8j854l','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,22,'Dashboard Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8t9hil16','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,13,'Knowledge Base Contributor','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8tjsqgch','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,17,'Prepared Report User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8tuda36r','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,10,'Purchase User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8uaab5e3','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,2,'Purchase Master Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8vdmapjd','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,14,'Knowledge Base Editor','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8vgoum94','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,16,'Inbox User','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('pm8vn4hi9g','2026-11-25 20:53:38.098901','2026-11-25 21:10:26.816418','Administrator','Administrator',0,15,'Marketing Manager','Administrator','roles','User');
INSERT INTO `tabHas Role` VALUES ('sgnh0fh11s','2026-11-25 20:58:27.715115','2026-11-25 21:10:23.651570','Administrator','Administrator',0,1,'Website Manager','eve@example.com','roles','User');
CREATE TABLE `tabDeleted Document` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `deleted_name` varchar(140) DEFAULT NULL,
  `deleted_doctype` varchar(140) DEFAULT NULL,
  `restored` tinyint(4) NOT NULL DEFAULT 0,
  `new_name` varchar(140) DEFAULT NULL,
  `data` longtext DEFAULT NULL,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=COMPRESSED;
CREATE TABLE `tabSessions` (
  `user` varchar(255) DEFAULT NULL,
  `sid` varchar(255) DEFAULT NULL,
  `sessiondata` longtext DEFAULT NULL,
  `ipaddress` varchar(16) DEFAULT NULL,
  `lastupdate` datetime(6) DEFAULT NULL,
  `status` varchar(20) DEFAULT NULL,
  KEY `sid` (`sid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabSessions` VALUES ('eve@example.com','b089814f8199465d10616ebcdc9ae5b3f0f98b492677edb9293d2de1','{\"creation\":\"2026-11-25 21:10:27.599297\",\"full_name\":null,\"last_updated\":\"2026-11-25 21:10:27.599283\",\"session_expiry\":\"170:00:00\",\"session_ip\":\"127.0.0.1\",\"user\":\"eve@example.com\",\"user_agent\":null,\"user_type\":\"System User\"}',NULL,'2026-11-25 21:10:27.599312','Active');
CREATE TABLE `tabDefaultValue` (
  `name` varchar(255) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(255) DEFAULT NULL,
  `owner` varchar(255) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `parent` varchar(255) DEFAULT NULL,
  `parentfield` varchar(255) DEFAULT NULL,
  `parenttype` varchar(255) DEFAULT NULL,
  `idx` int(11) NOT NULL DEFAULT 0,
  `defvalue` text DEFAULT NULL,
  `defkey` varchar(140) DEFAULT NULL,
  PRIMARY KEY (`name`),
  KEY `parent` (`parent`),
  KEY `defaultvalue_parent_defkey_index` (`parent`,`defkey`),
  KEY `defaultvalue_parent_parenttype_index` (`parent`,`parenttype`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabDefaultValue` VALUES ('plpjhqtsnq','2026-11-25 20:53:36.936904','2026-11-25 20:53:36.936904','Administrator','Administrator',0,'__default','system_defaults','__default',0,'170:00','session_expiry');
CREATE TABLE `tabSingles` (
  `doctype` varchar(255) DEFAULT NULL,
  `field` varchar(255) DEFAULT NULL,
  `value` longtext DEFAULT NULL,
  KEY `singles_doctype_field_index` (`doctype`,`field`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabSingles` VALUES ('System Settings','session_expiry','170:00');
INSERT INTO `tabSingles` VALUES ('System Settings','time_zone',NULL);
CREATE TABLE `tabRole` (
  `name` varchar(140) NOT NULL,
  `creation` datetime(6) DEFAULT NULL,
  `modified` datetime(6) DEFAULT NULL,
  `modified_by` varchar(140) DEFAULT NULL,
  `owner` varchar(140) DEFAULT NULL,
  `docstatus` tinyint(4) NOT NULL DEFAULT 0,
  `idx` int(11) NOT NULL DEFAULT 0,
  `role_name` varchar(140) DEFAULT NULL,
  `home_page` varchar(140) DEFAULT NULL,
  `restrict_to_domain` varchar(140) DEFAULT NULL,
  `disabled` tinyint(4) NOT NULL DEFAULT 0,
  `is_custom` tinyint(4) NOT NULL DEFAULT 0,
  `desk_access` tinyint(4) NOT NULL DEFAULT 1,
  `two_factor_auth` tinyint(4) NOT NULL DEFAULT 0,
  `_user_tags` text DEFAULT NULL,
  `_comments` text DEFAULT NULL,
  `_assign` text DEFAULT NULL,
  `_liked_by` text DEFAULT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `role_name` (`role_name`),
  KEY `creation` (`creation`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci ROW_FORMAT=DYNAMIC;
INSERT INTO `tabRole` VALUES ('Accounts Manager','2026-11-25 20:53:32.544387','2026-11-25 20:53:32.544387','Administrator','Administrator',0,0,'Accounts Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Accounts User','2026-11-25 20:53:32.553295','2026-11-25 20:53:32.553295','Administrator','Administrator',0,0,'Accounts User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Administrator','2026-11-25 20:53:23.268737','2026-11-25 20:53:23.268737','Administrator','Administrator',0,0,'Administrator',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('All','2026-11-25 20:53:23.242930','2026-11-25 20:53:23.242930','Administrator','Administrator',0,0,'All',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Dashboard Manager','2026-11-25 20:53:23.958974','2026-11-25 20:53:23.958974','Administrator','Administrator',0,0,'Dashboard Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Desk User','2026-11-25 20:53:23.273436','2026-11-25 20:53:23.273436','Administrator','Administrator',0,0,'Desk User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Guest','2026-11-25 20:53:23.252668','2026-11-25 20:53:23.252668','Administrator','Administrator',0,0,'Guest',NULL,NULL,0,0,0,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Inbox User','2026-11-25 20:53:27.846921','2026-11-25 20:53:27.846921','Administrator','Administrator',0,0,'Inbox User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Knowledge Base Contributor','2026-11-25 20:53:29.874931','2026-11-25 20:53:29.874931','Administrator','Administrator',0,0,'Knowledge Base Contributor',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Knowledge Base Editor','2026-11-25 20:53:29.863863','2026-11-25 20:53:29.863863','Administrator','Administrator',0,0,'Knowledge Base Editor',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Maintenance Manager','2026-11-25 20:53:36.096451','2026-11-25 20:53:36.096451','Administrator','Administrator',0,0,'Maintenance Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Maintenance User','2026-11-25 20:53:36.094213','2026-11-25 20:53:36.094213','Administrator','Administrator',0,0,'Maintenance User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Marketing Manager','2026-11-25 20:53:29.494815','2026-11-25 20:53:29.494815','Administrator','Administrator',0,0,'Marketing Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Newsletter Manager','2026-11-25 20:53:30.170920','2026-11-25 20:53:30.170920','Administrator','Administrator',0,0,'Newsletter Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Prepared Report User','2026-11-25 20:53:27.143558','2026-11-25 20:53:27.143558','Administrator','Administrator',0,0,'Prepared Report User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase Manager','2026-11-25 20:53:36.099651','2026-11-25 20:53:36.099651','Administrator','Administrator',0,0,'Purchase Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase Master Manager','2026-11-25 20:53:36.109177','2026-11-25 20:53:36.109177','Administrator','Administrator',0,0,'Purchase Master Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Purchase User','2026-11-25 20:53:32.547104','2026-11-25 20:53:32.547104','Administrator','Administrator',0,0,'Purchase User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Report Manager','2026-11-25 20:53:24.681063','2026-11-25 20:53:24.681063','Administrator','Administrator',0,0,'Report Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales Manager','2026-11-25 20:53:36.085688','2026-11-25 20:53:36.085688','Administrator','Administrator',0,0,'Sales Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales Master Manager','2026-11-25 20:53:36.102951','2026-11-25 20:53:36.102951','Administrator','Administrator',0,0,'Sales Master Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Sales User','2026-11-25 20:53:32.550528','2026-11-25 20:53:32.550528','Administrator','Administrator',0,0,'Sales User',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Script Manager','2026-11-25 20:53:25.100277','2026-11-25 20:53:25.100277','Administrator','Administrator',0,0,'Script Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('System Manager','2026-11-25 20:53:23.261111','2026-11-25 20:53:23.261111','Administrator','Administrator',0,0,'System Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Translator','2026-11-25 20:53:26.010859','2026-11-25 20:53:26.010859','Administrator','Administrator',0,0,'Translator',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Website Manager','2026-11-25 20:53:23.794734','2026-11-25 20:53:23.794734','Administrator','Administrator',0,0,'Website Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO `tabRole` VALUES ('Workspace Manager','2026-11-25 20:53:24.500260','2026-11-25 20:53:24.500260','Administrator','Administrator',0,0,'Workspace Manager',NULL,NULL,0,0,1,0,NULL,NULL,NULL,NULL);
